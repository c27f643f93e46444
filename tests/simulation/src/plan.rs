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
    /// What goes wrong.
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
        let known: Vec<&str> = first().map(Fault::name).collect();
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
            events.push(Event {
                number: events.len(),
                what: (*what).to_owned(),
                at_ms,
                for_ms: duration_ms(&mut chance),
            });
        }
        for (position, kind) in LATER.iter().enumerate() {
            let numbers = LATER_NUMBERS * (position + 1);
            events.extend(events_of(seed, kind.name(), only, length_ms, numbers));
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

/// Kinds that came after seeds had found something. Each draws from a stream of its own, so that the
/// events of all others stay what they were under every seed; new ones are added at the end.
const LATER: &[&dyn Fault] = &[
    &operations::Checkpoint,
    &operations::Snapshot,
    &operations::Upgrade,
    &operations::Migrate,
    &operations::Rollback,
    &operations::Limits,
    &operations::Reseed,
    &faults::FlipValue,
    &operations::DryRun,
    &operations::HostdUpgrade,
    &operations::Verify,
    &operations::Policy,
    &operations::Save,
    &operations::Restore,
];

/// The events of each of them have numbers of their own, from a multiple of this on.
const LATER_NUMBERS: usize = 1_000;

/// How many runs in a hundred have events of one of them.
const LATER_PERCENT: u32 = 15;

/// Whether, and when, one of the later kinds happens.
fn events_of(
    seed: u64,
    what: &str,
    only: &[String],
    length_ms: u64,
    first_number: usize,
) -> Vec<Event> {
    let mut chance = Chance::new(seed, &format!("plan of {what}"));
    let chosen = chance.percent(LATER_PERCENT);
    let wanted = if only.is_empty() {
        chosen
    } else {
        only.iter().any(|wanted| wanted == what)
    };
    let mut events = Vec::new();
    if !wanted {
        return events;
    }
    let apart_ms = chance.within(1_000..=8_000);
    let mut at_ms = chance.within(1..=2 * apart_ms);
    while at_ms < length_ms {
        events.push(Event {
            number: first_number + events.len(),
            what: what.to_owned(),
            at_ms,
            for_ms: duration_ms(&mut chance),
        });
        at_ms += chance.within(1..=2 * apart_ms);
    }
    events
}

/// How long something goes wrong: for a moment, for about an election, or for long.
fn duration_ms(chance: &mut Chance) -> u64 {
    match chance.below(3) {
        0 => chance.within(20..=500),
        1 => chance.within(500..=3_000),
        _ => chance.within(3_000..=8_000),
    }
}

/// The kinds that share one stream.
fn first() -> impl Iterator<Item = &'static dyn Fault> {
    faults::ALL.iter().chain(operations::ALL).copied()
}

/// All faults and operations.
pub(crate) fn all() -> impl Iterator<Item = &'static dyn Fault> {
    first().chain(LATER.iter().copied())
}

/// A fault or operation by its name.
pub(crate) fn named(name: &str) -> Option<&'static dyn Fault> {
    all().find(|fault| fault.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hash of what 300 seeds say about the first kinds.
    fn first_kinds(only: &[String]) -> String {
        let mut hasher = blake3::Hasher::new();
        for seed in 1..=300 {
            let events = Plan::of(seed, only).events;
            for event in events.iter().filter(|event| event.number < LATER_NUMBERS) {
                hasher.update(format!("{event:?}").as_bytes());
            }
        }
        hasher.finalize().to_hex()[..16].to_owned()
    }

    #[test]
    fn a_kind_that_came_later_changes_no_event_of_the_first() {
        // As it was when there were 43 kinds. A change here takes the meaning from every seed that
        // is written down anywhere.
        assert_eq!(first_kinds(&[]), "3e281f6f8f4d7e0b");
        let only = ["power-loss".to_owned(), "join".to_owned()];
        assert_eq!(first_kinds(&only), "18882a2115994bea");
    }

    #[test]
    fn kinds_that_came_later_change_nothing_of_each_other() {
        let kinds: Vec<&str> = LATER.iter().map(|kind| kind.name()).collect();
        let mut happened = vec![0; kinds.len()];
        for seed in 1..=300 {
            let events = Plan::of(seed, &[]).events;
            for (position, kind) in kinds.iter().enumerate() {
                let among_all: Vec<String> = events
                    .iter()
                    .filter(|event| event.what == *kind)
                    .map(|event| format!("{event:?}"))
                    .collect();
                if among_all.is_empty() {
                    continue;
                }
                happened[position] += 1;
                let alone = Plan::of(seed, &[(*kind).to_owned()]);
                let alone: Vec<String> = alone
                    .events
                    .iter()
                    .map(|event| format!("{event:?}"))
                    .collect();
                // With nothing else, a run has the same length and the same events.
                assert_eq!(among_all, alone, "{kind} under seed {seed}");
            }
        }
        assert!(happened.iter().all(|seeds| *seeds > 20), "{happened:?}");
    }

    #[test]
    fn every_event_has_a_number_of_its_own() {
        for seed in 1..=300 {
            let events = Plan::of(seed, &[]).events;
            let numbers: std::collections::BTreeSet<usize> =
                events.iter().map(|event| event.number).collect();
            assert_eq!(numbers.len(), events.len(), "seed {seed}");
        }
    }
}
