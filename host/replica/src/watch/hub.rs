//! What was changed lately, and who waits for more.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use hostd_machine::Past;
use hostd_planted::{self as planted, Bug};
use hostd_protocol::{Change, ChangeEvent, Changed, Failure, FailureCode, Revision, Watch};

use super::index::Index;

/// Commands that a watcher looks at before others get their turn.
const LOOK_MAX: usize = 1024;

/// The shared past of all watches of this node.
#[derive(Debug)]
pub(crate) struct Hub {
    state: Mutex<State>,
    bytes_max: usize,
}

#[derive(Debug)]
struct State {
    /// The newest changes, oldest first.
    past: VecDeque<Kept>,
    /// Size of all changes that ever were, and of those that were dropped.
    bytes: u64,
    bytes_dropped: u64,
    /// How many were dropped in front of `past`: cursors count from the first that ever was.
    dropped: u64,
    /// Everything from here on is in `past`.
    from: Revision,
    /// Everything before this revision is applied.
    next: Revision,
    index: Index,
    waiting: BTreeMap<u64, Waiting>,
    last_watcher: u64,
    /// How often all watchers were cut, and why the last time.
    cuts: u64,
    cut: Option<Failure>,
}

/// What one command changed.
#[derive(Debug)]
struct Kept {
    changed: Arc<Changed>,
    /// Size of all changes that ever were, up to this one.
    bytes: u64,
}

/// A watcher that is, or will be, waiting.
#[derive(Debug, Default)]
struct Waiting {
    waker: Option<Waker>,
    /// The first change that concerns it and that it has not been told.
    found: Option<u64>,
}

/// A watcher's place in the past.
#[derive(Debug)]
pub(super) struct Cursor {
    hub: Arc<Hub>,
    watch: Watch,
    number: u64,
    /// Changes before this revision do not concern it.
    start: Revision,
    /// The next change to look at; `None` when there was nothing new.
    at: Option<u64>,
    /// It once was where the newest change is. Only then is it slow when it falls behind; before that it
    /// may have begun far back.
    was_current: bool,
    /// Cuts that were before it.
    cuts: u64,
}

impl Hub {
    /// Goes on from a past. Everything before `next` is applied.
    pub(crate) fn new(past: Past, next: Revision, bytes_max: usize) -> Self {
        let mut bytes = 0;
        let kept = past.changed.into_iter().map(|changed| {
            bytes += changed.size_bytes() as u64;
            Kept { changed, bytes }
        });
        let kept: VecDeque<_> = kept.collect();
        Self {
            state: Mutex::new(State {
                past: kept,
                bytes,
                bytes_dropped: 0,
                dropped: 0,
                from: past.from,
                next,
                index: Index::default(),
                waiting: BTreeMap::new(),
                last_watcher: 0,
                cuts: 0,
                cut: None,
            }),
            bytes_max,
        }
    }

    /// Takes in what was changed by everything before `next`, and wakes those whom it concerns.
    pub(crate) fn publish(&self, changed: impl Iterator<Item = Arc<Changed>>, next: Revision) {
        let mut wakers = Vec::new();
        {
            let mut state = self.lock();
            for changed in changed {
                state.note(&changed, &mut wakers);
                state.bytes += changed.size_bytes() as u64;
                let bytes = state.bytes;
                state.past.push_back(Kept { changed, bytes });
            }
            state.next = next;
            state.drop_over(self.bytes_max);
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The state became another, of which nothing is known before `from`.
    pub(crate) fn begin_anew(&self, from: Revision) {
        if planted::active(Bug::WatchSkipsSnapshot) {
            return;
        }
        let mut state = self.lock();
        state.dropped += state.past.len() as u64;
        state.past.clear();
        state.bytes_dropped = state.bytes;
        state.from = from;
        state.next = from;
        drop(state);
        self.cut_all(compacted(from));
    }

    /// Ends all watches that there are.
    pub(crate) fn cut_all(&self, why: Failure) {
        let mut state = self.lock();
        state.cuts += 1;
        state.cut = Some(why);
        drop(state);
        self.wake_all();
    }

    /// Has every watch look whether it may go on.
    pub(crate) fn wake_all(&self) {
        let mut state = self.lock();
        let waiting = state.waiting.values_mut();
        let wakers: Vec<_> = waiting.filter_map(|waiting| waiting.waker.take()).collect();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Begins a watch from `start` on, or with the next change.
    pub(super) fn watch(
        self: &Arc<Self>,
        watch: Watch,
        start: Option<Revision>,
    ) -> Result<Cursor, Failure> {
        let mut state = self.lock();
        let start = start.unwrap_or(state.next);
        if start < state.from {
            return Err(compacted(state.from));
        }
        state.last_watcher += 1;
        let number = state.last_watcher;
        state.index.add(&watch, number);
        state.waiting.insert(number, Waiting::default());
        let before = state
            .past
            .partition_point(|kept| kept.changed.revision < start);
        let repeats = u64::from(planted::active(Bug::WatchRepeats) && start < state.next);
        let at = (state.dropped + before as u64).saturating_sub(repeats);
        let cuts = state.cuts;
        drop(state);
        Ok(Cursor {
            hub: Arc::clone(self),
            watch,
            number,
            start,
            at: Some(at),
            was_current: false,
            cuts,
        })
    }

    /// How many watch.
    pub(crate) fn watchers(&self) -> usize {
        self.lock().waiting.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Finds those whom a command's changes concern, as the next of the past.
    fn note(&mut self, changed: &Changed, wakers: &mut Vec<Waker>) {
        if self.waiting.is_empty() {
            return;
        }
        let number = self.dropped + self.past.len() as u64;
        let waiting = &mut self.waiting;
        for change in &changed.changes {
            self.index.find(change, |watcher| {
                let Some(waiting) = waiting.get_mut(&watcher) else {
                    return;
                };
                if waiting.found.is_none() {
                    waiting.found = Some(number);
                    wakers.extend(waiting.waker.take());
                }
            });
        }
    }

    fn drop_over(&mut self, bytes_max: usize) {
        while self.bytes - self.bytes_dropped > bytes_max as u64 {
            let Some(oldest) = self.past.pop_front() else {
                break;
            };
            self.bytes_dropped = oldest.bytes;
            self.dropped += 1;
            self.from = oldest.changed.revision.next();
        }
    }

    /// Whether half of what may be kept has come since the change at `at`.
    fn is_far_behind(&self, at: u64, bytes_max: usize) -> bool {
        let skipped = (at - self.dropped) as usize;
        let before = match skipped.checked_sub(1) {
            Some(last) => self.past.get(last).map_or(self.bytes, |kept| kept.bytes),
            None => self.bytes_dropped,
        };
        self.bytes - before > bytes_max as u64 / 2
    }
}

impl Cursor {
    /// The revision with which this watch began.
    pub(super) fn start(&self) -> Revision {
        self.start
    }

    /// The next command's changes that concern this watch.
    pub(super) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Changed, Failure>> {
        let hub = Arc::clone(&self.hub);
        let mut state = hub.lock();
        if state.cuts > self.cuts {
            let why = state.cut.clone().expect("a cut has a reason");
            return Poll::Ready(Err(why));
        }
        let waiting = state.waiting.get_mut(&self.number);
        let waiting = waiting.expect("it waits as long as it lives");
        let Some(at) = self.at.or_else(|| waiting.found.take()) else {
            match &mut waiting.waker {
                Some(waker) => waker.clone_from(context.waker()),
                None => waiting.waker = Some(context.waker().clone()),
            }
            return Poll::Pending;
        };
        if at < state.dropped {
            return Poll::Ready(Err(compacted(state.from)));
        }
        if self.was_current && state.is_far_behind(at, hub.bytes_max) {
            return Poll::Ready(Err(slow()));
        }
        let skipped = (at - state.dropped) as usize;
        let mut next = at;
        for kept in state.past.iter().skip(skipped).take(LOOK_MAX) {
            next += 1;
            let found = match self.look(&kept.changed) {
                Ok(found) => found,
                Err(failure) => return Poll::Ready(Err(failure)),
            };
            if let Some(found) = found {
                self.at = Some(next);
                return Poll::Ready(Ok(found));
            }
        }
        if next < state.dropped + state.past.len() as u64 {
            self.at = Some(next);
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.at = None;
        self.was_current = true;
        let waiting = state.waiting.get_mut(&self.number);
        let waiting = waiting.expect("it waits as long as it lives");
        waiting.found = None;
        waiting.waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// What concerns this watch of a command's changes.
    fn look(&self, changed: &Changed) -> Result<Option<Changed>, Failure> {
        let Changed { revision, changes } = changed;
        if *revision < self.start && !planted::active(Bug::WatchRepeats) {
            return Ok(None);
        }
        let of_plugin = |change: &Change| {
            let plugin = self.watch.plugin.as_deref();
            plugin.is_none_or(|plugin| plugin == &*change.plugin)
        };
        let renewed = |change: &Change| change.event == ChangeEvent::Renewed && of_plugin(change);
        if changes.iter().any(renewed) {
            return Err(compacted(revision.next()));
        }
        let matching = changes.iter().filter(|change| self.watch.matches(change));
        let changes: Vec<_> = matching.cloned().collect();
        let revision = *revision;
        Ok((!changes.is_empty()).then_some(Changed { revision, changes }))
    }

    /// Everything that concerns this watch before the returned revision was told, unless there is
    /// something to tell: then `None`.
    pub(super) fn told_until(&self) -> Option<Revision> {
        let state = self.hub.lock();
        let waiting = state.waiting.get(&self.number)?;
        let current = self.at.is_none() && waiting.found.is_none() && state.cuts == self.cuts;
        current.then(|| state.next.max(self.start))
    }

    /// A number that spreads what watchers do now and then.
    pub(super) fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        let mut state = self.hub.lock();
        state.index.remove(&self.watch, self.number);
        state.waiting.remove(&self.number);
    }
}

fn compacted(first: Revision) -> Failure {
    Failure::new(
        FailureCode::Compacted(first),
        format!(
            "first={first}: changes before are not known here any more; read the present state, and watch from there"
        ),
    )
}

fn slow() -> Failure {
    Failure::new(
        FailureCode::Overloaded,
        "this watcher takes changes more slowly than they come; go on from the last one that it has",
    )
}

#[cfg(test)]
mod tests {
    use hostd_protocol::{Start, Subject};
    use serde_bytes::ByteBuf;

    use super::*;

    const BYTES_MAX: usize = 100_000;

    fn hub() -> Arc<Hub> {
        let past = Past {
            from: Revision::start_of(1),
            changed: Vec::new(),
        };
        Arc::new(Hub::new(past, Revision::start_of(1), BYTES_MAX))
    }

    fn keys(prefix: &str) -> Watch {
        Watch {
            plugin: Some("kv".into()),
            subject: Subject::Keys(ByteBuf::from(prefix)),
            start: Start::Now,
            progress_ms: 0,
        }
    }

    fn publish(hub: &Hub, index: u64, event: ChangeEvent) {
        let changed = Changed {
            revision: Revision::start_of(index),
            changes: vec![Change {
                plugin: "kv".into(),
                event,
            }],
        };
        let next = Revision::start_of(index + 1);
        hub.publish([Arc::new(changed)].into_iter(), next);
    }

    fn put(hub: &Hub, index: u64, key: &str, bytes: usize) {
        let event = ChangeEvent::Put {
            key: key.as_bytes().into(),
            value: vec![0; bytes].into(),
        };
        publish(hub, index, event);
    }

    /// Counts wakes.
    #[derive(Default)]
    struct Bell(std::sync::atomic::AtomicUsize);

    impl std::task::Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }

    impl Bell {
        fn count(&self) -> usize {
            self.0.load(std::sync::atomic::Ordering::Relaxed)
        }
    }

    fn poll(cursor: &mut Cursor, bell: &Arc<Bell>) -> Option<Result<u64, Failure>> {
        let waker = Waker::from(Arc::clone(bell));
        match cursor.poll_next(&mut Context::from_waker(&waker)) {
            Poll::Ready(told) => Some(told.map(|changed| changed.revision.index)),
            Poll::Pending => None,
        }
    }

    #[test]
    fn watchers_are_told_what_concerns_them_once_and_woken_for_nothing_else() {
        let hub = hub();
        let bell = Arc::default();
        let mut cursor = hub.watch(keys("a"), None).unwrap();
        assert_eq!(poll(&mut cursor, &bell), None);
        for index in 1..100 {
            put(&hub, index, "b", 10);
        }
        assert_eq!(bell.count(), 0, "nothing concerned it");
        put(&hub, 100, "a1", 10);
        put(&hub, 101, "a2", 10);
        assert_eq!(bell.count(), 1, "one wake does for several");
        assert_eq!(cursor.told_until(), None);
        assert_eq!(poll(&mut cursor, &bell), Some(Ok(100)));
        assert_eq!(poll(&mut cursor, &bell), Some(Ok(101)));
        assert_eq!(poll(&mut cursor, &bell), None);
        assert_eq!(cursor.told_until(), Some(Revision::start_of(102)));
        drop(cursor);
        assert_eq!(hub.watchers(), 0);
    }

    #[test]
    fn a_watch_goes_on_from_any_revision_that_is_kept() {
        let hub = hub();
        let bell = Arc::default();
        for index in 1..=10 {
            put(&hub, index, "a", 10);
        }
        let mut cursor = hub.watch(keys("a"), Some(Revision::start_of(9))).unwrap();
        assert_eq!(poll(&mut cursor, &bell), Some(Ok(9)));
        let after = hub.watch(keys("a"), Some(Revision::start_of(10).next()));
        assert_eq!(poll(&mut after.unwrap(), &bell), None);
        // One that comes from a node that has applied more waits for what is new to it.
        let mut ahead = hub.watch(keys("a"), Some(Revision::start_of(12))).unwrap();
        put(&hub, 11, "a", 10);
        assert_eq!(poll(&mut ahead, &bell), None);
        put(&hub, 12, "a", 10);
        assert_eq!(poll(&mut ahead, &bell), Some(Ok(12)));
        for index in 13..100 {
            put(&hub, index, "a", 10_000);
        }
        let gone = hub.watch(keys("a"), Some(Revision::start_of(9)));
        let FailureCode::Compacted(first) = gone.unwrap_err().code else {
            panic!("the past is gone");
        };
        assert!(hub.watch(keys("a"), Some(first)).is_ok());
    }

    #[test]
    fn an_idle_watcher_is_not_slow_however_much_else_changes() {
        let hub = hub();
        let bell = Arc::default();
        let mut cursor = hub.watch(keys("a"), None).unwrap();
        assert_eq!(poll(&mut cursor, &bell), None);
        for index in 1..100 {
            put(&hub, index, "b", 10_000);
        }
        put(&hub, 100, "a", 10);
        assert_eq!(poll(&mut cursor, &bell), Some(Ok(100)));
    }

    #[test]
    fn a_slow_watcher_is_cut_while_it_can_still_go_on_elsewhere() {
        let hub = hub();
        let bell = Arc::default();
        let mut slow = hub.watch(keys("a"), None).unwrap();
        let mut brisk = hub.watch(keys("a"), None).unwrap();
        assert_eq!(poll(&mut slow, &bell), None);
        for index in 1..=7 {
            put(&hub, index, "a", 10_000);
            assert_eq!(poll(&mut brisk, &bell), Some(Ok(index)));
            assert_eq!(poll(&mut brisk, &bell), None);
        }
        let cut = poll(&mut slow, &bell).unwrap().unwrap_err();
        assert_eq!(cut.code, FailureCode::Overloaded);
        let mut again = hub.watch(keys("a"), Some(Revision::start_of(1))).unwrap();
        for index in 1..=7 {
            assert_eq!(poll(&mut again, &bell), Some(Ok(index)));
        }
    }

    #[test]
    fn a_state_that_is_new_cuts_those_who_saw_the_one_before() {
        let hub = hub();
        let bell = Arc::default();
        let mut idle = hub.watch(keys("a"), None).unwrap();
        assert_eq!(poll(&mut idle, &bell), None);
        publish(&hub, 1, ChangeEvent::Renewed);
        assert_eq!(bell.count(), 1);
        let first = FailureCode::Compacted(Revision::start_of(1).next());
        assert_eq!(poll(&mut idle, &bell).unwrap().unwrap_err().code, first);

        let mut idle = hub.watch(keys("a"), None).unwrap();
        assert_eq!(poll(&mut idle, &bell), None);
        hub.begin_anew(Revision::start_of(50));
        let first = FailureCode::Compacted(Revision::start_of(50));
        assert_eq!(poll(&mut idle, &bell).unwrap().unwrap_err().code, first);
        assert!(hub.watch(keys("a"), Some(Revision::start_of(49))).is_err());
        assert!(hub.watch(keys("a"), None).is_ok());
    }
}
