//! What must hold. One file for each promise.

use crate::trace::Observation;
use crate::world::Violation;

/// Checks of what nodes tell while they run.
#[derive(Debug, Default)]
pub struct Invariants {}

impl Invariants {
    /// A process of a node started.
    pub fn started(&mut self, _id: u64) {}
    /// A node is gone for good.
    pub fn discarded(&mut self, _id: u64) {}
    /// A node told something.
    pub fn observe(&mut self, _observation: &Observation) -> Result<(), Violation> {
        Ok(())
    }
}
