//! How the clients fare: counted while they run.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::workload::Kind;

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It was answered.
    Ok,
    /// It was refused and certainly had no effect.
    Refused,
    /// Nobody knows, or it was a read without an answer.
    Unknown,
}

/// Counters that all clients share.
#[derive(Debug)]
pub(crate) struct Meter {
    start: Instant,
    counts: [[AtomicU64; 3]; Kind::ALL.len()],
    /// When the last call was answered, in nanoseconds since the start.
    last_ok: AtomicU64,
    longest: AtomicU64,
    longest_of_episode: AtomicU64,
    stopped: AtomicBool,
}

impl Meter {
    pub(crate) fn start() -> Self {
        Self {
            start: Instant::now(),
            counts: Default::default(),
            last_ok: AtomicU64::new(0),
            longest: AtomicU64::new(0),
            longest_of_episode: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        }
    }

    /// Time since the start: the clock of all histories.
    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// A call ended.
    pub(crate) fn count(&self, workload: Kind, ending: Ending) {
        self.counts[workload as usize][ending as usize].fetch_add(1, Ordering::Relaxed);
        if ending == Ending::Ok {
            let now = self.now().as_nanos() as u64;
            let before = self.last_ok.fetch_max(now, Ordering::Relaxed);
            self.gap(Duration::from_nanos(now.saturating_sub(before)));
        }
    }

    fn gap(&self, gap: Duration) {
        let nanos = gap.as_nanos() as u64;
        if !self.stopped.load(Ordering::Relaxed) {
            self.longest.fetch_max(nanos, Ordering::Relaxed);
            self.longest_of_episode.fetch_max(nanos, Ordering::Relaxed);
        }
    }

    /// How long ago the last call was answered.
    pub(crate) fn silent(&self) -> Duration {
        let last = Duration::from_nanos(self.last_ok.load(Ordering::Relaxed));
        self.now().saturating_sub(last)
    }

    /// The longest time without an answer for anybody since this was asked last.
    pub(crate) fn longest_of_episode(&self) -> Duration {
        self.gap(self.silent());
        Duration::from_nanos(self.longest_of_episode.swap(0, Ordering::Relaxed))
    }

    /// The longest time without an answer for anybody.
    pub(crate) fn longest(&self) -> Duration {
        Duration::from_nanos(self.longest.load(Ordering::Relaxed))
    }

    /// From now on nobody is meant to call.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// So many calls of a workload ended so.
    pub(crate) fn of(&self, workload: Kind, ending: Ending) -> u64 {
        self.counts[workload as usize][ending as usize].load(Ordering::Relaxed)
    }

    /// So many calls ended so.
    pub(crate) fn total(&self, ending: Ending) -> u64 {
        let workloads = Kind::ALL.iter();
        workloads.map(|workload| self.of(*workload, ending)).sum()
    }
}
