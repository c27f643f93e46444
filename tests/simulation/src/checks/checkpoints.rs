//! Equal digests at equal checkpoints, on every node and in every snapshot.

use std::collections::{BTreeMap, BTreeSet};

use super::Invariant;
use crate::trace::Observation;

#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    /// By index: the digest, and the node that had it first.
    digests: BTreeMap<u64, (u64, u64)>,
    /// Nodes that were made to compute something else.
    wrong: BTreeSet<u64>,
}

impl Invariant for Checkpoints {
    fn name(&self) -> &'static str {
        "equal digests"
    }

    fn discarded(&mut self, node: u64) {
        self.wrong.remove(&node);
    }

    fn computed_wrongly(&mut self, node: u64) {
        self.wrong.insert(node);
    }

    fn observe(&mut self, observation: &Observation) -> Result<(), String> {
        if observation.what == "installed" {
            self.wrong.remove(&observation.node);
        }
        if self.wrong.contains(&observation.node) {
            return Ok(());
        }
        if !["checkpoint", "installed"].contains(&observation.what.as_str()) {
            return Ok(());
        }
        let (index, digest) = (observation.number("index"), observation.number("digest"));
        let (known, first) = *self
            .digests
            .entry(index)
            .or_insert((digest, observation.node));
        if known != digest && observation.what == "installed" && !self.wrong.is_empty() {
            // A node that computes wrongly has sent its state on.
            self.wrong.insert(observation.node);
            return Ok(());
        }
        if known != digest {
            return Err(format!(
                "the states of nodes {first} and {} differ at checkpoint {index}",
                observation.node
            ));
        }
        Ok(())
    }
}
