//! Linearizable reads: which log index must be applied before a read that starts now?
//!
//! The leader answers once a majority has confirmed, by answering a heartbeat sent after the
//! question, that it still leads. Questions that come while a round is under way share the next
//! one.

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use crate::network::Refusal;

/// Asks for read indexes, in shared rounds.
pub(crate) struct ReadIndex {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    under_way: bool,
    waiting: Vec<oneshot::Sender<Result<u64, Refusal>>>,
}

impl ReadIndex {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
        })
    }

    /// An index that covers everything acknowledged before this call. `obtain` runs a round; it
    /// is the same for all callers.
    pub(crate) async fn get<F, O>(self: &Arc<Self>, obtain: O) -> Result<u64, Refusal>
    where
        O: Fn() -> F + Send + 'static,
        F: Future<Output = Result<u64, Refusal>> + Send,
    {
        let (sender, receiver) = oneshot::channel();
        let first = {
            let mut state = self.lock();
            state.waiting.push(sender);
            !std::mem::replace(&mut state.under_way, true)
        };
        if first {
            // A task of its own: whoever asked first may go away, and the others must not care.
            let rounds = Rounds(Arc::clone(self));
            tokio::spawn(async move {
                while let Some(waiting) = rounds.next() {
                    let index = obtain().await;
                    for sender in waiting {
                        drop(sender.send(index.clone()));
                    }
                }
            });
        }
        receiver
            .await
            .unwrap_or_else(|_| Err(crate::propose::stopped()))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The rounds of one task. If it dies, those who wait are told and the next caller starts anew.
struct Rounds(Arc<ReadIndex>);

impl Rounds {
    /// Those whom the next round is for; `None` when there is nobody, and the task is to end.
    fn next(&self) -> Option<Vec<oneshot::Sender<Result<u64, Refusal>>>> {
        let mut state = self.0.lock();
        let waiting = std::mem::take(&mut state.waiting);
        if waiting.is_empty() {
            state.under_way = false;
            return None;
        }
        Some(waiting)
    }
}

impl Drop for Rounds {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        // After a regular end somebody else may already be at work.
        if std::thread::panicking() {
            state.under_way = false;
            state.waiting.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn questions_during_a_round_share_the_next_one() {
        let reads = ReadIndex::new();
        let rounds = Arc::new(AtomicU64::new(0));
        let gate = Arc::new(Semaphore::new(0));
        let ask = || {
            let (reads, rounds, gate) =
                (Arc::clone(&reads), Arc::clone(&rounds), Arc::clone(&gate));
            tokio::spawn(async move {
                reads
                    .get(move || {
                        let (rounds, gate) = (Arc::clone(&rounds), Arc::clone(&gate));
                        async move {
                            let round = rounds.fetch_add(1, Ordering::SeqCst) + 1;
                            gate.acquire().await.unwrap().forget();
                            Ok(round)
                        }
                    })
                    .await
                    .unwrap()
            })
        };
        let first = ask();
        while rounds.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let later: Vec<_> = (0..10).map(|_| ask()).collect();
        while reads.lock().waiting.len() < 10 {
            tokio::task::yield_now().await;
        }
        gate.add_permits(2);
        assert_eq!(first.await.unwrap(), 1);
        for question in later {
            assert_eq!(question.await.unwrap(), 2);
        }
        gate.add_permits(1);
        assert_eq!(ask().await.unwrap(), 3);
    }
}
