//! The simulated world: nodes, the network between them, clients, and the passing of time.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hostd::Formation;
use hostd_replica::CheckpointPolicy;

use crate::chance::Chance;
use crate::checks::Invariants;
use crate::clock::WorldTime;
use crate::disk::Disk;
use crate::fixtures::Fixtures;
use crate::host::Host;
use crate::net::Net;
use crate::node::{Death, Exit, SimNode};
use crate::trace::{Counters, Trace};

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The check that found it.
    pub check: String,
    /// What it found.
    pub text: String,
}

impl Violation {
    /// What a check found.
    pub fn new(check: &str, text: impl fmt::Display) -> Self {
        Self {
            check: check.to_owned(),
            text: text.to_string(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.check, self.text)
    }
}

/// What is done later.
type Deed = Box<dyn FnOnce(&mut World)>;

/// Everything that is simulated.
pub struct World {
    /// Decides everything.
    pub seed: u64,
    /// The right time.
    pub time: WorldTime,
    /// The network.
    pub net: Net,
    /// Every node that was ever there and was not thrown away.
    pub nodes: BTreeMap<u64, SimNode>,
    /// Where clients run.
    pub clients: Host,
    /// What happened.
    pub trace: Trace,
    /// How often.
    pub counters: Counters,
    /// What all runs share.
    pub fixtures: Fixtures,
    /// Decisions of the world itself.
    pub chance: Chance,
    /// Checks of what nodes tell.
    pub invariants: Invariants,
    /// By the time it is due, and a number that keeps the order.
    deeds: BTreeMap<(u64, u64), Deed>,
    deeds_made: u64,
    violation: Option<Violation>,
    /// Nodes whose disk was damaged: they may refuse to start.
    damaged: BTreeMap<u64, &'static str>,
    /// Faults that make nodes fail may be going on.
    pub calm: bool,
}

impl fmt::Debug for World {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("World")
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

impl World {
    /// A world without nodes.
    pub fn new(seed: u64, fixtures: Fixtures, trace: Trace) -> std::io::Result<Self> {
        let counters = Counters::default();
        Ok(Self {
            seed,
            time: WorldTime::default(),
            net: Net::new(seed, counters.clone()),
            nodes: BTreeMap::new(),
            clients: Host::new()?,
            trace,
            counters,
            fixtures,
            chance: Chance::new(seed, "world"),
            invariants: Invariants::default(),
            deeds: BTreeMap::new(),
            deeds_made: 0,
            violation: None,
            damaged: BTreeMap::new(),
            calm: false,
        })
    }

    /// Milliseconds since the beginning.
    pub fn now_ms(&self) -> u64 {
        self.time.now_ms()
    }

    /// Adds a node, which is off.
    pub fn add_node(&mut self, id: u64, formation: Formation, checkpoint: CheckpointPolicy) {
        let disk = Disk::new(self.seed, &id.to_string(), self.counters.clone());
        let clock = self.time.wall_clock();
        let node = SimNode::new(id, self.seed, disk, clock, formation, checkpoint);
        self.nodes.insert(id, node);
    }

    /// Starts a node's process, if it is off.
    pub fn start(&mut self, id: u64) {
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        if node.is_on() {
            return;
        }
        self.trace.say(&format!("node {id} starts"));
        self.counters.add("processes started", 1);
        if let Err(error) = node.start(&self.fixtures, &self.net) {
            self.fail(Violation::new("simulator", format!("no runtime: {error}")));
        }
        self.invariants.started(id);
    }

    /// Ends a node's process, and starts another one after a while.
    pub fn crash(&mut self, id: u64, death: Death, off_ms: u64) {
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        if !node.is_on() {
            return;
        }
        self.trace
            .say(&format!("node {id} dies ({death:?}), for {off_ms} ms"));
        node.kill(&self.net, death);
        self.later(off_ms, move |world| world.start(id));
    }

    /// Does something after a while.
    pub fn later(&mut self, after_ms: u64, deed: impl FnOnce(&mut World) + 'static) {
        self.deeds_made += 1;
        let key = (self.now_ms() + after_ms, self.deeds_made);
        self.deeds.insert(key, Box::new(deed));
    }

    /// A promise was broken; the first one counts.
    pub fn fail(&mut self, violation: Violation) {
        self.trace.say(&format!("VIOLATION {violation}"));
        self.violation.get_or_insert(violation);
    }

    /// Remembers that a node's disk was damaged.
    pub fn note_damage(&mut self, id: u64, file: &'static str) {
        self.damaged.insert(id, file);
    }

    /// Nodes that were damaged.
    pub fn damaged(&self) -> Vec<u64> {
        self.damaged.keys().copied().collect()
    }

    /// A node is thrown away with its disk, as an operator does with one that cannot be repaired.
    pub fn discard(&mut self, id: u64) {
        if let Some(mut node) = self.nodes.remove(&id) {
            node.kill(&self.net, Death::Process);
            self.trace.say(&format!("node {id} is thrown away"));
        }
        self.damaged.remove(&id);
        self.invariants.discarded(id);
    }

    /// A millisecond passes.
    pub fn tick(&mut self) -> Result<(), Violation> {
        let now_ms = self.time.tick();
        self.trace.set_time(now_ms);
        let later = self.deeds.split_off(&(now_ms + 1, 0));
        for deed in std::mem::replace(&mut self.deeds, later).into_values() {
            deed(self);
        }
        self.net.tick();
        let ids: Vec<u64> = self.nodes.keys().copied().collect();
        for id in ids {
            let exit = self.nodes.get_mut(&id).and_then(SimNode::tick);
            if let Some(exit) = exit {
                self.ended(id, exit);
            }
        }
        self.clients.run(Duration::from_millis(1));
        for observation in self.trace.observations() {
            if let Err(violation) = self.invariants.observe(&observation) {
                self.fail(violation);
            }
        }
        self.violation.clone().map_or(Ok(()), Err)
    }

    /// Lets time pass until something is so. Returns whether it came to be.
    pub fn run_until(
        &mut self,
        within_ms: u64,
        mut condition: impl FnMut(&mut World) -> bool,
    ) -> Result<bool, Violation> {
        let end = self.now_ms() + within_ms;
        while self.now_ms() < end {
            if condition(self) {
                return Ok(true);
            }
            self.tick()?;
        }
        Ok(condition(self))
    }

    /// A process ended by itself.
    fn ended(&mut self, id: u64, exit: Exit) {
        self.trace.say(&format!("node {id} ended: {exit:?}"));
        let death = if self.chance.percent(50) {
            Death::Power
        } else {
            Death::Process
        };
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        node.kill(&self.net, death);
        if let Exit::Refused(reason) | Exit::Fault(reason) = &exit {
            self.counters.add("processes ended by a fault", 1);
            if self.calm && !self.damaged.contains_key(&id) {
                self.fail(Violation::new(
                    "faults",
                    format!("node {id} ended though nothing was wrong: {reason}"),
                ));
                return;
            }
        }
        // What watches over processes starts them again.
        let pause = self.chance.within(200..=2_000);
        self.later(pause, move |world| world.start(id));
    }
}
