//! Time: the world's, and each node's idea of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// When simulations begin, in nanoseconds since the Unix epoch: an evening in 2026.
const EPOCH_NS: u64 = 1_795_000_000_000_000_000;

/// The wall clock of one node. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct WallClock {
    world_ns: Arc<AtomicU64>,
    /// How far it is off.
    offset_ns: Arc<AtomicI64>,
}

/// The world's time. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct WorldTime(Arc<AtomicU64>);

impl WorldTime {
    /// A millisecond passes.
    pub(crate) fn tick(&self) -> u64 {
        (self.0.fetch_add(1_000_000, Ordering::Relaxed) + 1_000_000) / 1_000_000
    }

    /// Milliseconds since the beginning.
    pub(crate) fn now_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed) / 1_000_000
    }

    /// A wall clock that is right.
    pub(crate) fn wall_clock(&self) -> WallClock {
        WallClock {
            world_ns: Arc::clone(&self.0),
            offset_ns: Arc::default(),
        }
    }
}

impl WallClock {
    /// Nanoseconds since the Unix epoch, as this clock has it.
    pub(crate) fn now_ns(&self) -> u64 {
        let right = EPOCH_NS + self.world_ns.load(Ordering::Relaxed);
        right.saturating_add_signed(self.offset_ns.load(Ordering::Relaxed))
    }

    /// Sets it forward, or back.
    pub(crate) fn shift_ms(&self, by: i64) {
        self.offset_ns.fetch_add(by * 1_000_000, Ordering::Relaxed);
    }

    /// Moves it a little, as a clock does that runs too fast or too slow.
    pub(crate) fn drift_ns(&self, by: i64) {
        self.offset_ns.fetch_add(by, Ordering::Relaxed);
    }
}
