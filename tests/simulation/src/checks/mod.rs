//! What must hold. One file for each promise.
//!
//! Two kinds: invariants, which read what nodes tell while they run and find a breach when it
//! happens; and checks of what clients saw, at the end.

mod agreement;
mod checkpoints;
mod clock;
mod divergence;
mod durability;
mod elections;
mod log_matching;
mod members;
mod rules;

use std::collections::{BTreeMap, BTreeSet};

use crate::trace::Observation;
use crate::world::Violation;

/// Reads what nodes tell.
trait Invariant {
    /// Its name in reports.
    fn name(&self) -> &'static str;

    /// A process of a node starts: what its memory held is gone, what its disk holds is not.
    fn started(&mut self, _node: u64) {}

    /// A node is gone for good, with its disk.
    fn discarded(&mut self, _node: u64) {}

    /// A node begins anew under its number, with an empty disk.
    fn reseeded(&mut self, node: u64) {
        self.discarded(node);
    }

    /// All nodes that the cluster begins with are members.
    fn formed(&mut self) {}

    /// A row of a node's next checkpoint is not what the log says.
    fn computed_wrongly(&mut self, _node: u64) {}

    /// A node whose state is wrong, as its digest says.
    fn unsettled(&self) -> Option<u64> {
        None
    }

    /// Whether a node said that its state is wrong.
    fn is_quarantined(&self, _node: u64) -> bool {
        false
    }

    /// A node told something.
    fn observe(&mut self, observation: &Observation) -> Result<(), String>;
}

/// All invariants.
pub(crate) struct Invariants {
    all: Vec<Box<dyn Invariant>>,
    /// The node that was last heard to lead, and its term.
    pub(crate) leader: Option<(u64, u64)>,
    /// By node: the last index applied, and the last checkpoint.
    pub(crate) progress: BTreeMap<u64, (u64, u64)>,
    /// By node: the first index and the last of what its log may hold.
    logs: BTreeMap<u64, Extent>,
    /// Nodes that know of themselves, as they are now, that they vote.
    voting: BTreeSet<u64>,
    /// By checkpoint and node, the beginning of the digest that it told last.
    digests: BTreeMap<(u64, u64), u64>,
}

/// Digests that are remembered.
const DIGESTS: usize = 1_000;

/// What a node's log may hold.
#[derive(Clone, Copy, Debug, Default)]
struct Extent {
    /// Everything up to here is gone from it.
    purged: u64,
    /// The newest entry that was ever on its disk, or in a snapshot that it was sent.
    last: u64,
}

impl std::fmt::Debug for Invariants {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Invariants").finish_non_exhaustive()
    }
}

impl Default for Invariants {
    fn default() -> Self {
        Self {
            all: vec![
                Box::new(elections::Elections::default()),
                Box::new(log_matching::LogMatching::default()),
                Box::new(agreement::Agreement::default()),
                Box::new(durability::Durability::default()),
                Box::new(clock::Clock::default()),
                Box::new(checkpoints::Checkpoints::default()),
                Box::new(divergence::Divergence::default()),
                Box::new(members::Members::default()),
                Box::new(rules::Rules::default()),
            ],
            leader: None,
            progress: BTreeMap::new(),
            logs: BTreeMap::new(),
            voting: BTreeSet::new(),
            digests: BTreeMap::new(),
        }
    }
}

impl Invariants {
    /// A process of a node starts.
    pub(crate) fn started(&mut self, node: u64) {
        for invariant in &mut self.all {
            invariant.started(node);
        }
    }

    /// A node is gone for good.
    pub(crate) fn discarded(&mut self, node: u64) {
        self.progress.remove(&node);
        self.logs.remove(&node);
        self.voting.remove(&node);
        for invariant in &mut self.all {
            invariant.discarded(node);
        }
    }

    /// A node begins anew under its number.
    pub(crate) fn reseeded(&mut self, node: u64) {
        self.progress.remove(&node);
        self.logs.remove(&node);
        self.voting.remove(&node);
        for invariant in &mut self.all {
            invariant.reseeded(node);
        }
    }

    /// A row of a node's next checkpoint is not what the log says.
    pub(crate) fn computed_wrongly(&mut self, node: u64) {
        for invariant in &mut self.all {
            invariant.computed_wrongly(node);
        }
    }

    /// A node whose state is wrong, as its digest says.
    pub(crate) fn unsettled(&self) -> Option<u64> {
        self.all.iter().find_map(|invariant| invariant.unsettled())
    }

    /// Whether a node said that its state is wrong.
    pub(crate) fn is_quarantined(&self, node: u64) -> bool {
        self.all
            .iter()
            .any(|invariant| invariant.is_quarantined(node))
    }

    /// Whether a node has found itself among the voters, as it is now.
    pub(crate) fn votes(&self, node: u64) -> bool {
        self.voting.contains(&node)
    }

    /// All nodes that the cluster begins with are members.
    pub(crate) fn formed(&mut self) {
        for invariant in &mut self.all {
            invariant.formed();
        }
    }

    /// Up to which index a node has given up its log.
    pub(crate) fn purged(&self, node: u64) -> u64 {
        self.logs.get(&node).map_or(0, |log| log.purged)
    }

    /// The last entry that a node may have.
    pub(crate) fn last_log(&self, node: u64) -> u64 {
        self.logs.get(&node).map_or(0, |log| log.last)
    }

    /// The beginning of the digest that a node told at a checkpoint.
    pub(crate) fn digest(&self, node: u64, checkpoint: u64) -> Option<u64> {
        self.digests.get(&(checkpoint, node)).copied()
    }

    /// A node told something.
    pub(crate) fn observe(&mut self, observation: &Observation) -> Result<(), Violation> {
        if observation.what == "leads" {
            self.leader = Some((observation.node, observation.number("term")));
        }
        if observation.what == "votes" {
            self.voting.insert(observation.node);
        }
        let index = observation.number("index");
        let progress = self.progress.entry(observation.node).or_default();
        match observation.what.as_str() {
            "applied" => progress.0 = index,
            "checkpoint" => progress.1 = index,
            "installed" => *progress = (index, index),
            _ => {}
        }
        if let "checkpoint" | "installed" = observation.what.as_str() {
            let digest = observation.number("digest");
            self.digests.insert((index, observation.node), digest);
            while self.digests.len() > DIGESTS {
                self.digests.pop_first();
            }
        }
        let log = self.logs.entry(observation.node).or_default();
        match observation.what.as_str() {
            "purged" => log.purged = log.purged.max(index),
            "durable" | "installed" => log.last = log.last.max(index),
            _ => {}
        }
        for invariant in &mut self.all {
            if let Err(text) = invariant.observe(observation) {
                return Err(Violation::new(invariant.name(), text));
            }
        }
        Ok(())
    }
}
