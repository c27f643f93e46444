//! A node finds that its state differs from the majority's if that is so, and only then. Nothing else
//! that a simulation does to a node changes what it computes.
//!
//! States are equal where their digests are; that the digest tells when a row is wrong is checked
//! when the row is written.

use std::collections::{BTreeMap, BTreeSet};

use super::Invariant;
use crate::trace::Observation;

/// Checkpoints of which the digests are remembered.
const REMEMBERED: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Divergence {
    /// By index, the digest of a node that computes rightly.
    right: BTreeMap<u64, u64>,
    /// By node that once computed something wrongly, what is known of it.
    wrong: BTreeMap<u64, Wrong>,
    quarantined: BTreeSet<u64>,
}

#[derive(Debug, Default)]
struct Wrong {
    /// Its next checkpoint is the one with the wrong row.
    now: bool,
    /// Its last checkpoint.
    last: Option<(u64, u64)>,
    /// Those with a wrong row, until a right one is known to compare with.
    tell: BTreeMap<u64, u64>,
}

impl Divergence {
    fn differs(&self, wrong: &Wrong) -> bool {
        wrong.last.is_some_and(|(index, digest)| {
            let right = self.right.get(&index);
            right.is_none_or(|right| *right != digest)
        })
    }
}

impl Divergence {
    fn checkpoint(&mut self, node: u64, observation: &Observation) {
        let (index, digest) = (observation.number("index"), observation.number("digest"));
        if let Some(wrong) = self.wrong.get_mut(&node) {
            wrong.last = Some((index, digest));
            if std::mem::take(&mut wrong.now) {
                wrong.tell.insert(index, digest);
            }
            return;
        }
        self.right.insert(index, digest);
        while self.right.len() > REMEMBERED {
            self.right.pop_first();
        }
    }

    /// Whether the digest told of every wrong row.
    fn told(&self) -> Result<(), String> {
        for (id, wrong) in &self.wrong {
            for (index, digest) in &wrong.tell {
                if self.right.get(index) == Some(digest) {
                    return Err(format!(
                        "node {id} computed a row of checkpoint {index} wrongly, and its digest does \
                         not tell"
                    ));
                }
            }
        }
        Ok(())
    }
}

impl Invariant for Divergence {
    fn name(&self) -> &'static str {
        "divergence"
    }

    fn discarded(&mut self, node: u64) {
        self.wrong.remove(&node);
        self.quarantined.remove(&node);
    }

    fn computed_wrongly(&mut self, node: u64) {
        self.wrong.entry(node).or_default().now = true;
    }

    fn unsettled(&self) -> Option<u64> {
        // A node sent its wrong state on before that was found: nobody need have a majority.
        if self.wrong.len() > 1 {
            return None;
        }
        let differs = |id: &&u64| self.wrong.get(id).is_some_and(|wrong| self.differs(wrong));
        self.wrong.keys().find(differs).copied()
    }

    fn is_quarantined(&self, node: u64) -> bool {
        self.quarantined.contains(&node)
    }

    fn observe(&mut self, observation: &Observation) -> Result<(), String> {
        let node = observation.node;
        match observation.what.as_str() {
            "quarantined" => {
                // Where a wrong state was sent on, the majority may have it.
                if !self.wrong.contains_key(&node) && self.wrong.len() < 2 {
                    return Err(format!("node {node} is quarantined"));
                }
                self.quarantined.insert(node);
            }
            "checkpoint" => {
                self.checkpoint(node, observation);
                return self.told();
            }
            // The state of another node takes the place of this one's; it may be a wrong one.
            "installed" => {
                let (index, digest) = (observation.number("index"), observation.number("digest"));
                let right = self.right.get(&index);
                let spread = !self.wrong.is_empty() && right.is_some_and(|right| *right != digest);
                self.wrong.remove(&node);
                self.quarantined.remove(&node);
                if spread {
                    self.wrong.entry(node).or_default().last = Some((index, digest));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
