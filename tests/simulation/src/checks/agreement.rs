//! State machine safety (Raft, figure 3): what is applied at an index is the same on every node and
//! never changes; each node applies in order and leaves nothing out.

use std::collections::BTreeMap;

use super::Invariant;
use crate::trace::Observation;

#[derive(Debug, Default)]
pub(super) struct Agreement {
    /// By index: term and a hash of the entry.
    applied: BTreeMap<u64, (u64, u64)>,
    /// By node: the last index that its process applied.
    last: BTreeMap<u64, u64>,
}

impl Invariant for Agreement {
    fn name(&self) -> &'static str {
        "agreement"
    }

    fn started(&mut self, node: u64) {
        self.last.remove(&node);
    }

    fn discarded(&mut self, node: u64) {
        self.last.remove(&node);
    }

    fn observe(&mut self, observation: &Observation) -> Result<(), String> {
        let (node, index) = (observation.node, observation.number("index"));
        match observation.what.as_str() {
            "installed" => {
                let before = self.last.insert(node, index);
                if before.is_some_and(|before| before > index) {
                    return Err(format!(
                        "node {node} installed a snapshot up to {index} over a newer state"
                    ));
                }
            }
            "applying" => {
                let entry = (observation.number("term"), observation.number("content"));
                let known = *self.applied.entry(index).or_insert(entry);
                if known != entry {
                    return Err(format!(
                        "node {node} applies another entry {index} (term {}) than was applied before (term {})",
                        entry.0, known.0
                    ));
                }
                let before = self.last.insert(node, index);
                if let Some(before) = before.filter(|before| before + 1 != index) {
                    return Err(format!("node {node} applies {index} after {before}"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
