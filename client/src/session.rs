//! Sessions: how the cluster recognises a write that is sent again.
//!
//! Each write of a session has a number, from 1. With it travels the number up to which the client
//! has all replies, so that the cluster can forget them.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};

use hostd_protocol::{CallError, Once};
use tokio::sync::Notify;

/// Writes of a session that may be unanswered at the same time, counted from the oldest. Half of
/// what the cluster keeps, whose limit also counts the newest acknowledgement that it has seen.
const WINDOW: u64 = 2_048;

/// The session of a client: opened when needed, replaced when it has expired.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    current: Mutex<Option<Arc<Session>>>,
    /// Held while one is opened.
    opening: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Session {
    number: u64,
    window: Mutex<Window>,
    /// The oldest unanswered write got its answer.
    advanced: Notify,
}

/// Which writes are answered.
#[derive(Debug)]
struct Window {
    /// The oldest write that is not answered, or the next one.
    oldest: u64,
    /// From `oldest` on: whether each is answered.
    answered: VecDeque<bool>,
}

impl Sessions {
    /// A number for one more write. `open` opens a session and gives its number.
    pub(crate) async fn ticket<F>(&self, open: impl Fn() -> F) -> Result<Ticket, CallError>
    where
        F: Future<Output = Result<u64, CallError>>,
    {
        loop {
            let session = match self.current() {
                Some(session) => session,
                None => self.open(&open).await?,
            };
            let advanced = session.advanced.notified();
            tokio::pin!(advanced);
            advanced.as_mut().enable();
            if let Some(ticket) = session.begin() {
                return Ok(ticket);
            }
            // As full as it may be. The session may also be given up meanwhile.
            advanced.await;
        }
    }

    /// Gives up a session that the cluster does not know any more.
    pub(crate) fn expire(&self, number: u64) {
        let mut current = lock(&self.current);
        if current
            .as_ref()
            .is_some_and(|session| session.number == number)
        {
            let session = current.take();
            drop(current);
            if let Some(session) = session {
                session.advanced.notify_waiters();
            }
        }
    }

    /// Takes the session out, to be closed.
    pub(crate) fn take(&self) -> Option<u64> {
        lock(&self.current).take().map(|session| session.number)
    }

    fn current(&self) -> Option<Arc<Session>> {
        lock(&self.current).clone()
    }

    async fn open<F>(&self, open: impl Fn() -> F) -> Result<Arc<Session>, CallError>
    where
        F: Future<Output = Result<u64, CallError>>,
    {
        let _one = self.opening.lock().await;
        if let Some(session) = self.current() {
            return Ok(session);
        }
        let session = Arc::new(Session {
            number: open().await?,
            window: Mutex::new(Window {
                oldest: 1,
                answered: VecDeque::new(),
            }),
            advanced: Notify::new(),
        });
        *lock(&self.current) = Some(session.clone());
        Ok(session)
    }
}

impl Session {
    fn begin(self: &Arc<Self>) -> Option<Ticket> {
        let mut window = lock(&self.window);
        let length = window.answered.len() as u64;
        if length >= WINDOW {
            return None;
        }
        window.answered.push_back(false);
        let reused = hostd_planted::active(hostd_planted::Bug::ReuseSequence)
            && window.oldest > 1
            && window.oldest.is_multiple_of(40);
        if reused {
            window.answered.pop_back();
        }
        Some(Ticket {
            session: self.clone(),
            sequence: window.oldest + length - u64::from(reused),
            acknowledged: window.oldest - 1,
        })
    }

    fn end(&self, sequence: u64) {
        let mut window = lock(&self.window);
        if hostd_planted::active(hostd_planted::Bug::ReuseSequence) && sequence < window.oldest {
            return;
        }
        let position = usize::try_from(sequence - window.oldest).expect("within the window");
        window.answered[position] = true;
        let full = window.answered.len() as u64 >= WINDOW;
        while window.answered.front() == Some(&true) {
            window.answered.pop_front();
            window.oldest += 1;
        }
        drop(window);
        if full {
            self.advanced.notify_waiters();
        }
    }
}

/// The number of one write. While it lives, the write counts as unanswered.
#[derive(Debug)]
pub(crate) struct Ticket {
    session: Arc<Session>,
    sequence: u64,
    acknowledged: u64,
}

impl Ticket {
    /// What travels with the write.
    pub(crate) fn once(&self) -> Once {
        Once::Session {
            session: self.session.number,
            sequence: self.sequence,
            acknowledged: self.acknowledged,
        }
    }

    /// The session's number.
    pub(crate) fn session(&self) -> u64 {
        self.session.number
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.session.end(self.sequence);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .expect("nothing panics while it holds the lock")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    fn numbers(ticket: &Ticket) -> (u64, u64) {
        (ticket.sequence, ticket.acknowledged)
    }

    #[tokio::test]
    async fn acknowledged_is_below_the_oldest_unanswered_write() {
        let sessions = Sessions::default();
        let opened = AtomicU64::new(6);
        let open = || async { Ok(opened.fetch_add(1, Ordering::Relaxed) + 1) };
        let first = sessions.ticket(open).await.unwrap();
        let second = sessions.ticket(open).await.unwrap();
        assert_eq!(numbers(&first), (1, 0));
        assert_eq!(numbers(&second), (2, 0));
        drop(second);
        let third = sessions.ticket(open).await.unwrap();
        assert_eq!(numbers(&third), (3, 0));
        drop(first);
        let fourth = sessions.ticket(open).await.unwrap();
        assert_eq!(numbers(&fourth), (4, 2));
        assert_eq!(fourth.session(), 7);
        drop((third, fourth));
        let fifth = sessions.ticket(open).await.unwrap();
        assert_eq!(numbers(&fifth), (5, 4));
        assert_eq!(opened.load(Ordering::Relaxed), 7);
    }

    #[tokio::test]
    async fn an_expired_session_is_replaced_once_and_numbers_begin_again() {
        let sessions = Sessions::default();
        let opened = AtomicU64::new(0);
        let open = || async { Ok(opened.fetch_add(1, Ordering::Relaxed) + 1) };
        let old = sessions.ticket(open).await.unwrap();
        sessions.expire(old.session());
        let new = sessions.ticket(open).await.unwrap();
        assert_eq!((new.session(), new.sequence), (2, 1));
        // Another call of the old session finds out late.
        sessions.expire(old.session());
        assert_eq!(sessions.ticket(open).await.unwrap().session(), 2);
    }

    #[tokio::test]
    async fn a_full_window_waits_for_its_oldest_write() {
        let sessions = Arc::new(Sessions::default());
        let open = || async { Ok(1) };
        let mut tickets = VecDeque::new();
        for _ in 0..WINDOW {
            tickets.push_back(sessions.ticket(open).await.unwrap());
        }
        let oldest = tickets.pop_front().unwrap();
        // The others being answered makes no room: the cluster still keeps their replies.
        drop(tickets);
        let waiting = tokio::spawn({
            let sessions = sessions.clone();
            async move { numbers(&sessions.ticket(open).await.unwrap()) }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(oldest);
        assert_eq!(waiting.await.unwrap(), (WINDOW + 1, WINDOW));
    }
}
