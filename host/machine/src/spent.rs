//! What a plugin's code has used on this node, for whoever watches it. Nothing of this is state: it
//! begins at nothing when the process does, and counts queries, which only this node runs.

use std::sync::atomic::{AtomicU64, Ordering};

use hostd_protocol::{Outcome, RejectionCode};

use crate::Fault;

/// Sums over all runs of a plugin's code, applied entries and queries alike.
#[derive(Debug, Default)]
pub struct Spent {
    runs: AtomicU64,
    traps: AtomicU64,
    fuel: AtomicU64,
}

impl Spent {
    pub(crate) fn add(&self, outcome: &Result<Outcome, Fault>, fuel: u64) {
        self.runs.fetch_add(1, Ordering::Relaxed);
        self.fuel.fetch_add(fuel, Ordering::Relaxed);
        if matches!(outcome, Ok(Err(rejection)) if rejection.code == RejectionCode::Trapped) {
            self.traps.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Runs of commands, timers' handlers and queries.
    pub fn runs(&self) -> u64 {
        self.runs.load(Ordering::Relaxed)
    }

    /// Runs that trapped.
    pub fn traps(&self) -> u64 {
        self.traps.load(Ordering::Relaxed)
    }

    /// Fuel that they used.
    pub fn fuel(&self) -> u64 {
        self.fuel.load(Ordering::Relaxed)
    }
}
