//! No node ever finds that its state differs from the majority's: nothing that a simulation does
//! to a node may change what it computes.

use super::Invariant;
use crate::trace::Observation;

#[derive(Debug)]
pub(super) struct Divergence;

impl Invariant for Divergence {
    fn name(&self) -> &'static str {
        "divergence"
    }

    fn observe(&mut self, observation: &Observation) -> Result<(), String> {
        if observation.what == "quarantined" {
            return Err(format!("node {} is quarantined", observation.node));
        }
        Ok(())
    }
}
