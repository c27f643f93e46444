//! What a seed decides before anything happens: the cluster, the load, and what goes wrong when.

use std::time::Duration;

use hostd::Formation;
use hostd_replica::CheckpointPolicy;
use serde::{Deserialize, Serialize};

use crate::chance::Chance;
use crate::faults::{self, Fault};
use crate::net::node_address;
use crate::operations;

/// Something that is planned to happen.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Event {
    /// Its number in the plan.
    pub(crate) number: usize,
    /// The fault's or the operation's name.
    pub(crate) what: String,
    /// When, after the cluster has formed.
    pub(crate) at_ms: u64,
    /// For how long.
    pub(crate) for_ms: u64,
}

/// A plan. It follows from the seed alone.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The seed.
    pub(crate) seed: u64,
    /// Nodes that the cluster begins with.
    pub(crate) nodes: u64,
    /// Whether they join one by one instead of meeting.
    pub(crate) one_by_one: bool,
    /// When checkpoints are made.
    pub(crate) checkpoint: CheckpointPolicy,
    /// Longest time that a sync takes while nothing is wrong.
    pub(crate) sync_ms: u64,
    /// For how long things go wrong.
    pub(crate) length_ms: u64,
    /// What goes wrong, by time.
    pub(crate) events: Vec<Event>,
}

impl Plan {
    /// The plan of a seed, of all faults and operations or only those in `only`.
    pub(crate) fn of(seed: u64, only: &[String]) -> Self {
        let mut chance = Chance::new(seed, "plan");
        let nodes = if chance.percent(70) { 3 } else { 5 };
        let one_by_one = chance.percent(25);
        let checkpoint = CheckpointPolicy {
            bytes: chance.within(8 << 10..=256 << 10),
            interval: Duration::from_millis(chance.within(500..=8_000)),
            tail_bytes: chance.within(1 << 10..=64 << 10) as usize,
        };
        let sync_ms = *chance.pick(&[0, 2, 15]).unwrap_or(&0);
        let length_ms = chance.within(10_000..=40_000);
        let known: Vec<&str> = all().map(Fault::name).collect();
        // A run has a few kinds of trouble, and more or less of each: all of it always would hide
        // what one kind alone brings to light.
        let kinds: Vec<&str> = if only.is_empty() {
            let count = chance.within(2..=8);
            (0..count)
                .filter_map(|_| chance.pick(&known).copied())
                .collect()
        } else {
            known
                .into_iter()
                .filter(|name| only.iter().any(|wanted| wanted == name))
                .collect()
        };
        let apart_ms = chance.within(300..=4_000);
        let mut events = Vec::new();
        let mut at_ms = 0;
        loop {
            at_ms += chance.within(1..=2 * apart_ms);
            if at_ms >= length_ms {
                break;
            }
            let Some(what) = chance.pick(&kinds) else {
                break;
            };
            let for_ms = match chance.below(3) {
                0 => chance.within(20..=500),
                1 => chance.within(500..=3_000),
                _ => chance.within(3_000..=8_000),
            };
            events.push(Event {
                number: events.len(),
                what: (*what).to_owned(),
                at_ms,
                for_ms,
            });
        }
        Self {
            seed,
            nodes,
            one_by_one,
            checkpoint,
            sync_ms,
            length_ms,
            events,
        }
    }

    /// Addresses of the nodes that the cluster begins with.
    pub(crate) fn addresses(&self) -> Vec<String> {
        (1..=self.nodes)
            .map(|id| node_address(id).to_string())
            .collect()
    }

    /// How a node comes to the cluster.
    pub(crate) fn formation(&self, id: u64) -> Formation {
        if !self.one_by_one {
            Formation::Expect {
                members: self.addresses(),
                expect: self.nodes as usize,
            }
        } else if id == 1 {
            Formation::Found
        } else {
            Formation::Join(self.addresses())
        }
    }
}

/// All faults and operations.
pub(crate) fn all() -> impl Iterator<Item = &'static dyn Fault> {
    faults::ALL.iter().chain(operations::ALL).copied()
}

/// A fault or operation by its name.
pub(crate) fn named(name: &str) -> Option<&'static dyn Fault> {
    all().find(|fault| fault.name() == name)
}
