//! The life of one simulated process: what it does to the world counts until the moment it dies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// A process, as disk and network see it.
///
/// A crash can be armed to happen after so many effects: writes and syncs of the disk, datagrams
/// sent. From then on nothing that the process does reaches the world, which is the same as if it
/// had died in the middle of whatever it was doing, at any instruction.
#[derive(Clone, Debug)]
pub(crate) struct Process(Arc<Life>);

#[derive(Debug)]
struct Life {
    dead: AtomicBool,
    /// Effects that are left; negative for no limit.
    left: AtomicI64,
}

impl Process {
    /// A process that lives until it is killed.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Life {
            dead: AtomicBool::new(false),
            left: AtomicI64::new(-1),
        }))
    }

    /// Lets it die after so many more effects.
    pub(crate) fn doom(&self, effects: u32) {
        self.0.left.store(i64::from(effects), Ordering::Relaxed);
    }

    /// Ends it now.
    pub(crate) fn kill(&self) {
        self.0.dead.store(true, Ordering::Relaxed);
    }

    /// Whether it has died.
    pub(crate) fn is_dead(&self) -> bool {
        self.0.dead.load(Ordering::Relaxed)
    }

    /// Whether an effect reaches the world.
    pub(crate) fn effect(&self) -> bool {
        if self.is_dead() {
            return false;
        }
        match self.0.left.load(Ordering::Relaxed) {
            left if left < 0 => true,
            0 => {
                self.kill();
                false
            }
            left => {
                self.0.left.store(left - 1, Ordering::Relaxed);
                true
            }
        }
    }
}
