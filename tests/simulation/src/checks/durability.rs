//! Nothing is applied, and so nothing is acknowledged, before a majority has it on disk.
//!
//! How many voters there are is not told here. Once a simulated cluster has formed it never has fewer
//! than three, so two must have each entry.

use std::collections::{BTreeMap, BTreeSet};

use super::Invariant;
use crate::trace::Observation;

#[derive(Debug, Default)]
pub(super) struct Durability {
    logs: BTreeMap<u64, Log>,
    /// Logs that were lost: what they held was acknowledged when they held it, and the others have
    /// it all once the change is committed by which the node comes back.
    lost: Vec<Log>,
    /// Nodes that found themselves among the voters.
    voters: BTreeSet<u64>,
    formed: bool,
}

/// What a node has on disk.
#[derive(Debug, Default)]
struct Log {
    /// Terms of the entries that were given to the log, by index.
    appended: BTreeMap<u64, u64>,
    /// Those of them that are durable.
    durable: BTreeMap<u64, u64>,
    /// What an earlier process was given and did not live to call durable: it may be on disk.
    found: BTreeMap<u64, u64>,
    /// Up to here a durable snapshot has everything.
    snapshot: u64,
}

/// Copies that an entry must have. Three voters at least.
const COPIES: usize = 2;

impl Invariant for Durability {
    fn name(&self) -> &'static str {
        "durability"
    }

    fn started(&mut self, node: u64) {
        let log = self.logs.entry(node).or_default();
        log.found.append(&mut log.appended);
        log.appended = log.durable.clone();
    }

    fn formed(&mut self) {
        self.formed = true;
    }

    fn discarded(&mut self, node: u64) {
        self.logs.remove(&node);
    }

    fn reseeded(&mut self, node: u64) {
        self.lost.extend(self.logs.remove(&node));
    }

    fn observe(&mut self, observation: &Observation) -> Result<(), String> {
        if observation.what == "votes" {
            self.voters.insert(observation.node);
        }
        let (index, term) = (observation.number("index"), observation.number("term"));
        let log = self.logs.entry(observation.node).or_default();
        match observation.what.as_str() {
            "appended" => {
                log.appended.insert(index, term);
            }
            "durable" => {
                if let Some(term) = log.appended.get(&index) {
                    log.durable.insert(index, *term);
                }
            }
            "truncated" => {
                log.found.split_off(&index);
                log.durable.split_off(&index);
            }
            "installed" => log.snapshot = log.snapshot.max(index),
            // Nodes that joined one by one may still be learners.
            "applying" if self.formed && self.voters.len() > COPIES => {
                let has = |log: &Log| {
                    log.snapshot >= index
                        || log.durable.get(&index) == Some(&term)
                        || log.found.get(&index) == Some(&term)
                };
                let copies = self
                    .logs
                    .values()
                    .chain(&self.lost)
                    .filter(|log| has(log))
                    .count();
                if copies < COPIES {
                    return Err(format!(
                        "node {} applies entry {index}, which {copies} nodes have on disk",
                        observation.node
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
