//! Log matching (Raft, figure 3): two entries with the same index and term are the same entry.

use std::collections::BTreeMap;

use super::Invariant;
use crate::trace::Observation;

#[derive(Debug, Default)]
pub(super) struct LogMatching {
    /// By index and term: a hash of the entry, and the node that had it first.
    entries: BTreeMap<(u64, u64), (u64, u64)>,
}

impl Invariant for LogMatching {
    fn name(&self) -> &'static str {
        "log matching"
    }

    fn observe(&mut self, observation: &Observation) -> Result<(), String> {
        if observation.what != "appended" {
            return Ok(());
        }
        let (index, term) = (observation.number("index"), observation.number("term"));
        let content = observation.number("content");
        let (known, first) = *self
            .entries
            .entry((index, term))
            .or_insert((content, observation.node));
        if known != content {
            return Err(format!(
                "entry {index} of term {term} differs between nodes {first} and {}",
                observation.node
            ));
        }
        Ok(())
    }
}
