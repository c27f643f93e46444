//! The simulated world: nodes, the network between them, clients, and the passing of time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hostd::Formation;
use hostd_replica::CheckpointPolicy;

use crate::chance::Chance;
use crate::checks::Invariants;
use crate::clock::WorldTime;
use crate::disk::{Disk, DiskFaults};
use crate::fixtures::{Fixtures, NODES_MAX};
use crate::host::Host;
use crate::net::{Link, Net};
use crate::node::{Death, Exit, SimNode};
use crate::operations;
use crate::operator::{Dialing, Mailbox, Operator};
use crate::plan::Plan;
use crate::trace::{Counters, Trace};
use crate::workloads::access::Record;

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// The check that found it.
    pub(crate) check: String,
    /// What it found.
    pub(crate) text: String,
}

impl Violation {
    /// What a check found.
    pub(crate) fn new(check: &str, text: impl fmt::Display) -> Self {
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
pub(crate) struct World {
    /// Decides everything.
    pub(crate) seed: u64,
    /// The right time.
    pub(crate) time: WorldTime,
    /// The network.
    pub(crate) net: Net,
    /// Every node that was ever there and was not thrown away.
    pub(crate) nodes: BTreeMap<u64, SimNode>,
    /// Where clients run.
    pub(crate) clients: Host,
    /// What happened.
    pub(crate) trace: Trace,
    /// How often.
    pub(crate) counters: Counters,
    /// What all runs share.
    pub(crate) fixtures: Fixtures,
    /// Decisions of the world itself.
    pub(crate) chance: Chance,
    /// Checks of what nodes tell.
    pub(crate) invariants: Invariants,
    /// By the time it is due, and a number that keeps the order.
    deeds: BTreeMap<(u64, u64), Deed>,
    deeds_made: u64,
    violation: Option<Violation>,
    /// The last snapshot that was fetched.
    pub(crate) saved: Option<crate::operations::Saved>,
    /// Nodes whose disk was damaged: they may refuse to start.
    damaged: BTreeMap<u64, &'static str>,
    /// Nodes on their way back with an empty disk, and whether it is empty yet.
    recovering: BTreeMap<u64, bool>,
    /// Nodes of which it is unknown whether they were removed.
    pub(crate) leaving: BTreeSet<u64>,
    /// The newest rules that were seen in force.
    rules: u64,
    /// Nothing goes wrong any more, so that nothing may fail.
    pub(crate) calm: bool,
    /// Asks for changes.
    pub(crate) operator: Operator,
    /// What tasks want done.
    pub(crate) mailbox: Mailbox,
    /// What became of rules, and of the guest who has them.
    pub(crate) access: Arc<Record>,
    /// The membership is being changed by an operation.
    pub(crate) changing: bool,
    /// Members that the cluster begins with, and never has fewer than.
    pub(crate) members_min: usize,
    /// The number that the next node gets.
    next_id: u64,
    checkpoint: CheckpointPolicy,
    sync_ms: u64,
    /// The farthest that a wall clock was set forward, in all, in milliseconds.
    pub(crate) clock_jumps_ms: u64,
}

/// Between two checkpoints that are asked for until no state is wrong any more.
const SETTLE_MS: u64 = 1_000;
/// Until an operator sees that a node is quarantined.
const NOTICE_MS: u64 = 500;

/// What a node says that cannot follow the cluster's rules. Nobody is left behind: the cluster goes over
/// to newer ones when all can follow.
const LEFT_BEHIND: &str = "this node cannot apply the cluster's log";

/// Clients that workloads have.
pub(crate) const CLIENTS: u64 = 8;

impl fmt::Debug for World {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("World")
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

impl World {
    /// A world with as many nodes as are said, which are on.
    pub(crate) fn new(
        plan: &Plan,
        fixtures: Fixtures,
        trace: Trace,
        counters: Counters,
    ) -> std::io::Result<Self> {
        let seed = plan.seed;
        let net = Net::new(seed, counters.clone());
        let mailbox = Mailbox::default();
        let dialing = Dialing {
            net: net.clone(),
            servers: plan.addresses(),
            credentials: fixtures.client.clone(),
        };
        let mut world = Self {
            seed,
            time: WorldTime::default(),
            net,
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
            saved: None,
            damaged: BTreeMap::new(),
            recovering: BTreeMap::new(),
            leaving: BTreeSet::new(),
            rules: 0,
            calm: false,
            operator: Operator::new(dialing, mailbox.clone()),
            mailbox,
            access: Arc::default(),
            changing: false,
            members_min: plan.nodes as usize,
            next_id: plan.nodes + 1,
            checkpoint: plan.checkpoint,
            sync_ms: plan.sync_ms,
            clock_jumps_ms: 0,
        };
        for id in 1..=plan.nodes {
            world.add_node(id, plan.formation(id));
            if let Some(node) = world.nodes.get_mut(&id) {
                node.older = operations::begins_old(plan);
            }
            world.start(id);
        }
        Ok(world)
    }

    /// How clients with another certificate reach the cluster.
    pub(crate) fn dialing_as(&self, credentials: &hostd_client::Credentials) -> Dialing {
        Dialing {
            credentials: credentials.clone(),
            ..self.dialing().clone()
        }
    }

    /// How clients reach the cluster.
    pub(crate) fn dialing(&self) -> &Dialing {
        self.operator.dialing()
    }

    /// Everything that goes wrong ends: what is off starts, what is cut is mended. Nothing may
    /// fail from now on.
    pub(crate) fn heal(&mut self) {
        self.trace.say("everything is mended");
        self.net.heal();
        self.net.set_usual(Link::default());
        self.deeds.clear();
        self.changing = false;
        for id in self.leaving.clone() {
            self.later(0, move |world| operations::remove(world, id));
        }
        let ids: Vec<u64> = self.nodes.keys().copied().collect();
        for id in ids {
            if self.is_recovering(id) {
                self.later(0, move |world| operations::watch(world, id));
            }
            self.later(0, move |world| operations::mend(world, id));
            if let Some(node) = self.nodes.get_mut(&id) {
                node.wrong_row = None;
                node.pause(false);
                node.speed_ppm = 1_000_000;
                node.disk
                    .change_faults(|faults| *faults = DiskFaults::default());
                if node.disk.has_flipped() {
                    // What the process read wrong it may still have in memory.
                    node.kill(&self.net, Death::Process);
                }
            }
            self.start(id);
        }
        self.calm = true;
    }

    /// Whether every node runs and said that it is ready.
    pub(crate) fn all_ready(&self) -> bool {
        self.nodes.values().all(SimNode::is_ready)
    }

    /// Whether every node runs, and none waits to be replaced.
    pub(crate) fn all_well(&mut self) -> bool {
        self.unwell().is_empty()
    }

    /// Which nodes are not well.
    pub(crate) fn unwell(&self) -> String {
        let bad = self.nodes.values().filter(|node| !node.is_ready());
        bad.map(|node| format!("node {}", node.id))
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// Whether all nodes have applied the same and have the same last checkpoint on disk.
    pub(crate) fn agreed_on_last_checkpoint(&mut self) -> bool {
        let mut progress = self.nodes.keys().map(|id| {
            self.invariants
                .progress
                .get(id)
                .copied()
                .unwrap_or_default()
        });
        let first = progress.next();
        progress.all(|other| Some(other) == first)
    }

    /// Whether the newest rules are in force, unless an old hostd still runs.
    pub(crate) fn follows_newest_rules(&mut self) -> bool {
        let newest = self.fixtures.engine.honours().last();
        self.nodes.values().any(SimNode::runs_older)
            || newest.is_some_and(|newest| u64::from(newest.rules) == self.rules)
    }

    /// Whether a disk may be damaged: what a majority has lost nobody has, so one at a time, while
    /// enough others are well. That is, they vote; who was just taken in need not have what the founder
    /// acknowledged alone. And none is quarantined, or it will soon begin with nothing.
    pub(crate) fn may_damage(&self) -> bool {
        self.damaged.is_empty()
            && self.recovering.is_empty()
            && self.nodes.values().all(|node| node.wrong_row.is_none())
            && self.invariants.unsettled().is_none()
            && self.may_lose_a_member()
            && !self
                .nodes
                .keys()
                .any(|id| self.invariants.is_quarantined(*id))
            && self
                .nodes
                .values()
                .filter(|node| self.is_voting(node))
                .count()
                >= self.members_min
    }

    fn is_voting(&self, node: &SimNode) -> bool {
        node.is_ready() && self.invariants.votes(node.id)
    }

    /// Whether a member may go for good: clients that were told of the first members only must find
    /// one of them.
    pub(crate) fn may_lose_a_member(&self) -> bool {
        let first = (self.members_min as u64) + 1;
        let stay = self.nodes.range(..first);
        stay.filter(|(id, _)| !self.leaving.contains(id)).count() > 1
    }

    /// A wall clock was set.
    pub(crate) fn note_clock_jump(&mut self, by_ms: i64) {
        self.clock_jumps_ms += u64::try_from(by_ms).unwrap_or(0);
    }

    /// Where the nodes listen.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let nodes = self.nodes.values();
        nodes.map(|node| node.address().to_string()).collect()
    }

    /// A node with a new number and an empty disk joins, if there are numbers left.
    pub(crate) fn add_joiner(&mut self) {
        let id = self.next_id;
        if id > NODES_MAX {
            return;
        }
        self.next_id += 1;
        self.add_node(id, Formation::Join(self.addresses()));
        self.start(id);
    }

    /// Milliseconds since the beginning.
    pub(crate) fn now_ms(&self) -> u64 {
        self.time.now_ms()
    }

    /// Adds a node, which is off.
    fn add_node(&mut self, id: u64, formation: Formation) {
        let disk = Disk::new(
            self.seed,
            &id.to_string(),
            self.sync_ms,
            self.counters.clone(),
        );
        let clock = self.time.wall_clock();
        let node = SimNode::new(id, self.seed, disk, clock, formation, self.checkpoint);
        self.nodes.insert(id, node);
    }

    /// Starts a node's process, if it is off.
    pub(crate) fn start(&mut self, id: u64) {
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
        self.judge_observations();
        self.invariants.started(id);
    }

    /// Ends a node's process, and starts another one after a while.
    pub(crate) fn crash(&mut self, id: u64, death: Death, off_ms: u64) {
        if self.switch_off(id, death) {
            self.trace.say(&format!("it is off for {off_ms} ms"));
            self.later(off_ms, move |world| world.start(id));
        }
    }

    /// Ends a node's process. Whoever does so sees to it that another one starts. Returns whether
    /// there was one.
    pub(crate) fn switch_off(&mut self, id: u64, death: Death) -> bool {
        let Some(node) = self.nodes.get_mut(&id) else {
            return false;
        };
        let was_on = node.is_on();
        if was_on {
            self.trace.say(&format!("node {id} dies ({death:?})"));
            node.kill(&self.net, death);
        }
        was_on
    }

    /// Does something after a while.
    pub(crate) fn later(&mut self, after_ms: u64, deed: impl FnOnce(&mut World) + 'static) {
        self.deeds_made += 1;
        let key = (self.now_ms() + after_ms, self.deeds_made);
        self.deeds.insert(key, Box::new(deed));
    }

    /// A promise was broken; the first one counts.
    pub(crate) fn fail(&mut self, violation: Violation) {
        self.trace.say(&format!("VIOLATION {violation}"));
        self.violation.get_or_insert(violation);
    }

    /// Remembers that a node's disk was damaged.
    pub(crate) fn note_damage(&mut self, id: u64, file: &'static str) {
        self.damaged.insert(id, file);
    }

    /// Whether a node is on its way back.
    pub(crate) fn is_recovering(&self, id: u64) -> bool {
        self.recovering.contains_key(&id)
    }

    /// Whether no node's state is known to be wrong, and none is on its way back. Asks for a
    /// checkpoint now and then, which is when that is found.
    pub(crate) fn settled(&mut self) -> bool {
        let settled = self.invariants.unsettled().is_none() && self.recovering.is_empty();
        if !settled && self.now_ms().is_multiple_of(SETTLE_MS) {
            for node in self.nodes.values().filter(|node| node.is_ready()) {
                node.checkpoint(&self.trace, &self.counters);
            }
        }
        settled
    }

    /// From now on a node is started with `--recover`.
    pub(crate) fn begin_recovery(&mut self, id: u64) {
        self.recovering.insert(id, false);
        if let Some(node) = self.nodes.get_mut(&id) {
            node.recover = true;
        }
    }

    /// What a node has on its disk is set aside: it begins with nothing, and knows whom to ask.
    pub(crate) fn set_aside(&mut self, id: u64) {
        let addresses = self.addresses();
        if let Some(node) = self.nodes.get_mut(&id) {
            node.disk.set_aside();
            node.formation = Formation::Join(addresses);
            self.trace
                .say(&format!("the data of node {id} is set aside"));
        }
        self.recovering.insert(id, true);
        self.judge_observations();
        self.invariants.reseeded(id);
    }

    /// Whether a node is back: it votes again, or it never had to leave. Then it is started as
    /// before.
    pub(crate) fn end_recovery(&mut self, id: u64) -> bool {
        let Some(&emptied) = self.recovering.get(&id) else {
            return true;
        };
        let Some(node) = self.nodes.get_mut(&id) else {
            return true;
        };
        let back = node.is_ready() && (!emptied || self.invariants.votes(id));
        if back {
            node.recover = false;
            self.recovering.remove(&id);
            self.trace.say(&format!("node {id} is back"));
        }
        back
    }

    /// A node is thrown away with its disk, as an operator does with one that cannot be repaired.
    pub(crate) fn discard(&mut self, id: u64) {
        if let Some(mut node) = self.nodes.remove(&id) {
            node.kill(&self.net, Death::Process);
            self.trace.say(&format!("node {id} is thrown away"));
        }
        self.damaged.remove(&id);
        self.recovering.remove(&id);
        self.judge_observations();
        self.invariants.discarded(id);
    }

    /// A millisecond passes.
    pub(crate) fn tick(&mut self) -> Result<(), Violation> {
        let now_ms = self.time.tick();
        self.trace.set_time(now_ms);
        let later = self.deeds.split_off(&(now_ms + 1, 0));
        for deed in std::mem::replace(&mut self.deeds, later).into_values() {
            deed(self);
        }
        self.net.tick();
        let ids: Vec<u64> = self.nodes.keys().copied().collect();
        for id in ids {
            let armed = |world: &Self| world.nodes.get(&id).and_then(|node| node.wrong_row);
            let before = armed(self);
            let exit = self.nodes.get_mut(&id).and_then(SimNode::tick);
            if before.is_some() && armed(self).is_none() {
                self.trace.say(&format!("node {id} computed a wrong row"));
                self.counters.add("wrong rows", 1);
                self.invariants.computed_wrongly(id);
            }
            if let Some(exit) = exit {
                self.ended(id, exit);
            }
        }
        self.clients.run(Duration::from_millis(1));
        for deed in self.mailbox.take() {
            deed(self);
        }
        self.judge_observations();
        self.violation.clone().map_or(Ok(()), Err)
    }

    /// Gives the checks what nodes told. Before a process takes the place of another one, so that
    /// nothing of the old one is taken for the new one's.
    fn judge_observations(&mut self) {
        for observation in self.trace.observations() {
            if observation.what == "installed" {
                self.counters.add("snapshots installed", 1);
            }
            if observation.what == "applied" && observation.number("rules") > self.rules {
                if self.rules > 0 {
                    self.counters.add("rules raised", 1);
                }
                self.rules = observation.number("rules");
            }
            if observation.what == "quarantined" {
                let id = observation.node;
                self.later(NOTICE_MS, move |world| operations::mend(world, id));
            }
            if let Err(violation) = self.invariants.observe(&observation) {
                self.fail(violation);
            }
        }
    }

    /// Lets time pass until something is so. Returns whether it came to be.
    pub(crate) fn run_until(
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
        // A reason names files, whose directory is another in every run.
        let directory = format!("{}/", self.fixtures.directory.display());
        let ended = format!("node {id} ended: {exit:?}").replace(&directory, "");
        self.trace.say(&ended);
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
            if reason.contains(LEFT_BEHIND) {
                self.fail(Violation::new(
                    "rules",
                    format!("node {id} was left behind: {reason}"),
                ));
                return;
            }
            if matches!(exit, Exit::Refused(_)) && self.damaged.contains_key(&id) {
                // As it must; and it says so. There is no use in starting it again.
                operations::replace(self, id);
                return;
            }
            if matches!(exit, Exit::Refused(_)) && self.recovering.get(&id) == Some(&false) {
                self.set_aside(id);
                self.start(id);
                return;
            }
            if self.calm {
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
