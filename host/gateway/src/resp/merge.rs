//! Several watches of one connection, told as one: in the order of what was changed.
//!
//! All watches of a node read one past, so one that has nothing to tell, asked after another was told of
//! a revision, has nothing up to that revision. That is all that is needed to put them in order without
//! a queue: each watch is asked for one command's changes ahead, and what all others were asked after is
//! told. Whoever does not take what is told leaves the watches where they are; falling behind is theirs
//! to notice.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::Stream;
use futures_util::task::AtomicWaker;
use hostd_protocol::{CallError, Changed, Failure, FailureCode, Revision, WatchItem};

/// What a watch tells.
pub(crate) type Told = Pin<Box<dyn Stream<Item = Result<WatchItem, CallError>> + Send>>;

/// Watches by number.
#[derive(Default)]
pub(crate) struct Merge {
    sources: BTreeMap<u64, Source>,
    last_number: u64,
    /// What is to be told next of each watch that has something.
    ahead: BTreeMap<(Revision, u64), Changed>,
    /// Up to this revision, `ahead` has what comes next of each watch.
    settled: Revision,
    task: Arc<Task>,
}

struct Source {
    told: Told,
    bell: Arc<Bell>,
    waker: Waker,
    /// It has something in `ahead`, and is not asked.
    is_ahead: bool,
}

/// Wakes the connection's task, and says which watch did.
struct Bell {
    rung: AtomicBool,
    task: Arc<Task>,
}

/// The connection's task, to be woken.
#[derive(Default)]
struct Task {
    /// A watch may have something to tell.
    rung: AtomicBool,
    waker: AtomicWaker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.task.rung.store(true, Ordering::Release);
        self.task.waker.wake();
    }
}

impl Merge {
    /// Adds a watch that has begun, and returns its number.
    pub(crate) fn add(&mut self, told: Told) -> u64 {
        let bell = Arc::new(Bell {
            rung: AtomicBool::new(true),
            task: Arc::clone(&self.task),
        });
        // It has not been asked yet.
        self.task.rung.store(true, Ordering::Release);
        self.last_number += 1;
        let waker = Waker::from(Arc::clone(&bell));
        let source = Source {
            told,
            bell,
            waker,
            is_ahead: false,
        };
        self.sources.insert(self.last_number, source);
        self.last_number
    }

    /// Ends a watch. It is told nothing more.
    pub(crate) fn remove(&mut self, number: u64) {
        self.sources.remove(&number);
        self.ahead.retain(|(_, of), _| *of != number);
    }

    /// What a command changed of one watch, with its number; or why a watch has ended.
    pub(crate) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<(u64, Changed), CallError>> {
        self.task.waker.register(context.waker());
        loop {
            if let Some(first) = self.ahead.first_entry()
                && first.key().0 <= self.settled
            {
                let ((_, number), changed) = first.remove_entry();
                if let Some(source) = self.sources.get_mut(&number) {
                    source.is_ahead = false;
                }
                if !self.ask(number)? {
                    self.settled = Revision::default();
                }
                return Poll::Ready(Ok((number, changed)));
            }
            let Some(((last, _), _)) = self.ahead.last_key_value() else {
                if !self.task.rung.swap(false, Ordering::AcqRel) {
                    return Poll::Pending;
                }
                self.ask_all(|source| source.bell.rung.load(Ordering::Acquire))?;
                if self.ahead.is_empty() && !self.task.rung.load(Ordering::Acquire) {
                    return Poll::Pending;
                }
                if self.ahead.is_empty() {
                    // A watch has more to look through than it does at once.
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                continue;
            };
            let last = *last;
            // A watch may be woken a moment after what it has to tell can be seen: all are asked.
            if !self.ask_all(|_| true)? {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.settled = last;
        }
    }

    /// Asks those for which nothing is ahead. Returns whether each of them has told what is next of it.
    fn ask_all(&mut self, of: impl Fn(&Source) -> bool) -> Result<bool, CallError> {
        let wanted =
            |(number, source): (&u64, &Source)| (!source.is_ahead && of(source)).then_some(*number);
        let wanted: Vec<u64> = self.sources.iter().filter_map(wanted).collect();
        let mut all = true;
        for number in wanted {
            all &= self.ask(number)?;
        }
        Ok(all)
    }

    /// Asks a watch for what is next. Returns whether it has told that, or has nothing to tell: it may
    /// also have stopped looking, to go on later.
    fn ask(&mut self, number: u64) -> Result<bool, CallError> {
        let Some(source) = self.sources.get_mut(&number) else {
            return Ok(true);
        };
        source.bell.rung.store(false, Ordering::Release);
        let mut context = Context::from_waker(&source.waker);
        loop {
            match source.told.as_mut().poll_next(&mut context) {
                Poll::Pending => return Ok(!source.bell.rung.load(Ordering::Acquire)),
                Poll::Ready(Some(Ok(WatchItem::Changed(changed)))) => {
                    source.is_ahead = true;
                    self.ahead.insert((changed.revision, number), changed);
                    return Ok(true);
                }
                // Where it begins, and how far it is.
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(error))) => return Err(error),
                Poll::Ready(None) => return Err(ended()),
            }
        }
    }
}

impl std::fmt::Debug for Merge {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Merge")
            .field("sources", &self.sources.len())
            .field("ahead", &self.ahead.len())
            .finish_non_exhaustive()
    }
}

fn ended() -> CallError {
    Failure::new(
        FailureCode::Overloaded,
        "the node watches no more; ask another",
    )
    .into()
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;

    use futures_util::stream;

    use super::*;

    /// A watch that is told by a test, which may leave out the waking.
    #[derive(Default)]
    struct Script {
        items: Mutex<VecDeque<Result<WatchItem, CallError>>>,
        waker: Mutex<Option<Waker>>,
        asked: AtomicUsize,
    }

    impl Script {
        fn put(&self, index: u64) {
            let changed = Changed {
                revision: Revision::start_of(index),
                changes: Vec::new(),
            };
            let mut items = self.items.lock().unwrap();
            items.push_back(Ok(WatchItem::Changed(changed)));
        }

        fn wake(&self) {
            if let Some(waker) = self.waker.lock().unwrap().take() {
                waker.wake();
            }
        }

        fn told(self: &Arc<Self>) -> Told {
            let script = Arc::clone(self);
            Box::pin(stream::poll_fn(move |context| {
                script.asked.fetch_add(1, Ordering::Relaxed);
                if let Some(item) = script.items.lock().unwrap().pop_front() {
                    return Poll::Ready(Some(item));
                }
                *script.waker.lock().unwrap() = Some(context.waker().clone());
                Poll::Pending
            }))
        }
    }

    fn told(merge: &mut Merge) -> Vec<(u64, u64)> {
        let mut context = Context::from_waker(Waker::noop());
        let mut all = Vec::new();
        while let Poll::Ready(told) = merge.poll_next(&mut context) {
            let (number, changed) = told.unwrap();
            all.push((number, changed.revision.index));
        }
        all
    }

    fn two() -> (Merge, [Arc<Script>; 2]) {
        let scripts = [Arc::<Script>::default(), Arc::default()];
        let mut merge = Merge::default();
        for script in &scripts {
            merge.add(script.told());
        }
        (merge, scripts)
    }

    #[test]
    fn all_watches_are_told_in_one_order() {
        let (mut merge, [one, two]) = two();
        for index in [1, 4, 5, 7] {
            one.put(index);
        }
        for index in [2, 3, 5, 6, 9] {
            two.put(index);
        }
        let told = told(&mut merge);
        let indexes: Vec<u64> = told.iter().map(|(_, index)| *index).collect();
        assert_eq!(indexes, [1, 2, 3, 4, 5, 5, 6, 7, 9]);
        assert_eq!(told[4..6], [(1, 5), (2, 5)]);
    }

    #[test]
    fn one_that_is_woken_later_is_not_told_later() {
        let (mut merge, [one, two]) = two();
        assert_eq!(told(&mut merge), []);
        one.put(4);
        two.put(5);
        // What the first has to tell is there, and it has not been woken yet.
        two.wake();
        assert_eq!(told(&mut merge), [(1, 4), (2, 5)]);
        one.wake();
        assert_eq!(told(&mut merge), []);
    }

    #[test]
    fn watches_are_not_asked_unless_one_of_them_wakes() {
        let (mut merge, [one, two]) = two();
        assert_eq!(told(&mut merge), []);
        let before = one.asked.load(Ordering::Relaxed);
        assert_eq!(told(&mut merge), []);
        assert_eq!(one.asked.load(Ordering::Relaxed), before);
        two.put(1);
        two.wake();
        assert_eq!(told(&mut merge), [(2, 1)]);
    }

    #[test]
    fn what_is_removed_is_told_no_more_and_an_error_ends_all() {
        let (mut merge, [one, two]) = two();
        one.put(1);
        two.put(2);
        one.put(3);
        let mut context = Context::from_waker(Waker::noop());
        assert!(merge.poll_next(&mut context).is_ready());
        merge.remove(1);
        assert_eq!(told(&mut merge), [(2, 2)]);
        two.items.lock().unwrap().push_back(Err(ended()));
        two.wake();
        let Poll::Ready(Err(_)) = merge.poll_next(&mut context) else {
            panic!("the error is not told");
        };
    }
}
