//! Applying entries: the one place where state changes.

use std::sync::Arc;

use hostd_planted::{self as planted, Bug};
use hostd_protocol::entry::CheckpointDigest;
use hostd_protocol::{
    ARGUMENTS_MAX, Access, Batch, Command, EngineIdentity, Entry, Limits, Once, Outcome, Rejection,
    RejectionCode, Reply, TimeNs,
};

use crate::catalogue::Installed;
use crate::machine::{Applied, Input, Machine, Position};
use crate::migration::Phase;
use crate::plugin::Plugin;
use crate::policy::{self, Action};
use crate::random::Generator;
use crate::record::Called;
use crate::sessions::Admission;
use crate::store::{Revision, Writes, writes_bytes};
use crate::system::Founding;
use crate::wasm::{Engine, Finished, Instance, RULES_HANDING_COSTS, Stop, Task};
use crate::{Fault, timers, usage};

/// Replies of one batch together, and the size up to which a reply is taken in any case. Part of the
/// rules.
const BATCH_REPLY_BYTES_MAX: usize = 64 << 20;
const SMALL_REPLY_BYTES: usize = 4 << 10;

/// One command's place and time.
pub(crate) struct Moment<'a> {
    pub(crate) revision: Revision,
    pub(crate) now: TimeNs,
    pub(crate) seed: &'a [u8; 16],
}

/// Which code runs, and on what.
pub(crate) struct Code<'a> {
    /// The key space that it sees. Each has an instance of its own.
    pub(crate) space: u32,
    pub(crate) plugin: &'a Plugin,
    /// Whether it makes a state of an older layout anew.
    pub(crate) migrating: bool,
}

/// What guest code came to, before any of it is part of the state.
pub(crate) struct Ran {
    pub(crate) outcome: Outcome,
    /// Empty unless the outcome is ok.
    pub(crate) writes: Writes,
    events: Vec<crate::Event>,
}

/// By how much a timer is put off that falls due while its plugin's writes wait.
const TIMER_WAIT_NS: TimeNs = 100_000_000;

/// The most by which one command ages what is forgotten by age. A clock that is set forward by an
/// hour must not make the cluster forget in one moment what it promised to remember for ten minutes.
const STEP_NS_MAX: TimeNs = 60_000_000_000;

impl Machine {
    /// Applies the entry at `position`, which must follow the one before.
    ///
    /// # Errors
    /// A [`Fault`] is this node's own; the machine must not be used afterwards.
    pub fn apply(&mut self, position: Position, input: Input<'_>) -> Result<Applied, Fault> {
        // A cluster's log starts at 0 or 1, as its consensus has it.
        let follows = match self.position {
            Some(last) => position.index == last.index + 1,
            None => position.index <= 1,
        };
        if !follows && !planted::active(Bug::ApplyTwice) {
            return Err(Fault::Misuse(format!(
                "entry {} applied after {:?}",
                position.index, self.position
            )));
        }
        let mut applied = Applied::default();
        match input {
            Input::Blank => {}
            Input::Membership(bytes) => {
                let revision = Revision {
                    index: position.index,
                    position: 0,
                };
                let layers = self.layers.as_mut().expect("no command is running");
                self.system.set_membership(bytes, layers, revision);
            }
            Input::Entry(Entry::Batch(batch)) => {
                self.apply_batch(position, batch, &mut applied)?;
            }
            Input::Entry(Entry::Checkpoint { time, previous }) => {
                self.advance(time);
                applied.diverged = self.differs(previous.as_ref());
                if !planted::active(Bug::KeepGuestMemory) {
                    self.instances.clear();
                }
                applied.flush = Some(self.freeze(position)?);
            }
        }
        self.position = Some(position);
        self.settle_timers()?;
        Ok(applied)
    }

    fn apply_batch(
        &mut self,
        position: Position,
        batch: Batch,
        applied: &mut Applied,
    ) -> Result<(), Fault> {
        self.batch_reply_bytes = 0;
        applied.outcomes.reserve(batch.commands.len());
        applied.fuel.reserve(batch.commands.len());
        for (offset, command) in batch.commands.into_iter().enumerate() {
            let moment = Moment {
                revision: Revision {
                    index: position.index,
                    position: offset as u32,
                },
                now: self.advance(batch.time + offset as u64),
                seed: &batch.seed,
            };
            let fuel_before = self.system.running.fuel;
            let plugins = Arc::clone(&self.catalogue);
            let outcome = self.command(&moment, command, applied.events.as_mut())?;
            if !Arc::ptr_eq(&plugins, &self.catalogue) {
                self.collector.note_plugins(&plugins, &self.catalogue);
            }
            applied.changed.extend(self.collector.end(moment.revision));
            self.batch_reply_bytes += outcome.as_ref().map_or(0, Reply::size_bytes);
            applied.outcomes.push(outcome);
            applied.fuel.push(self.system.running.fuel - fuel_before);
        }
        Ok(())
    }

    /// The replicated clock: what the leader read, corrected so that time strictly rises.
    fn advance(&mut self, leader_clock: TimeNs) -> TimeNs {
        let running = &mut self.system.running;
        let now = if planted::active(Bug::TimeFalls) {
            leader_clock
        } else {
            leader_clock.max(running.time + 1)
        };
        running.steady += now.saturating_sub(running.time).min(STEP_NS_MAX);
        running.time = now;
        now
    }

    /// Whether the leader's state at this node's last durable checkpoint was another.
    fn differs(&self, previous: Option<&CheckpointDigest>) -> bool {
        let durable = self.durable();
        previous.is_some_and(|previous| {
            durable
                .position
                .is_some_and(|position| position.index == previous.index)
                && durable.digest != previous.digest
        })
    }

    fn command(
        &mut self,
        moment: &Moment<'_>,
        command: Command,
        events: &mut Vec<crate::Event>,
    ) -> Result<Outcome, Fault> {
        match command {
            Command::Found {
                cluster,
                engine,
                limits,
            } => self.found(moment, cluster, engine, limits),
            Command::Install {
                principal,
                component,
            } => self.install_at_once(moment, principal, &component),
            Command::Plugin { principal, change } => {
                match policy::judge(&self.policy, &principal, Action::Administer) {
                    Ok(()) => self.change_plugins(moment, principal, change),
                    Err(denied) => Ok(Err(denied)),
                }
            }
            Command::Work => self.work(moment),
            Command::Call {
                principal,
                plugin,
                command,
                arguments,
                once,
            } => {
                if let Some(once) = &once {
                    let admitted = self.sessions.admit(
                        once,
                        &principal,
                        self.system.running.steady,
                        &self.limits,
                    );
                    match admitted {
                        Ok(Admission::Run) => {}
                        Ok(Admission::Replay(outcome)) => return Ok(outcome),
                        Err(rejection) => return Ok(Err(rejection)),
                    }
                }
                let outcome = if self.recorder.is_some() {
                    let (plugin, command) = (plugin.as_deref(), &*command);
                    self.recorded_call(moment, &principal, plugin, command, arguments, events)?
                } else {
                    self.call(
                        moment,
                        &principal,
                        plugin.as_deref(),
                        &command,
                        arguments,
                        events,
                    )?
                };
                // A call that has to wait, or is not allowed, did not run, and may run when it comes again.
                let waits = matches!(&outcome, Err(rejection)
                    if matches!(rejection.code, RejectionCode::Migrating | RejectionCode::PermissionDenied));
                if let Some(once) = once.as_ref().filter(|_| !waits) {
                    self.record(once, &principal, &outcome);
                }
                Ok(outcome)
            }
            Command::OpenSession { principal } => {
                if let Err(denied) = policy::judge(&self.policy, &principal, Action::Enter) {
                    return Ok(Err(denied));
                }
                let number = self.system.running.next_session + 1;
                self.system.running.next_session = number;
                let steady = self.system.running.steady;
                self.sessions.open(number, &principal, steady, &self.limits);
                Ok(Ok(Reply::Integer(number as i64)))
            }
            Command::CloseSession { principal, session } => {
                self.sessions.close(session, &principal);
                Ok(Ok(Reply::Ok))
            }
            Command::Wake => self.wake(moment, events),
            Command::Engine { engine } => self.change_engine(moment, engine),
            Command::Policy { principal, change } => {
                Ok(self.change_policy(moment, &principal, change))
            }
            Command::Token { principal, change } => self.change_tokens(moment, &principal, change),
        }
    }

    fn record(&mut self, once: &Once, principal: &str, outcome: &Outcome) {
        let steady = self.system.running.steady;
        self.sessions
            .record(once, principal, outcome, steady, &self.limits);
    }

    /// Fixes what every replica must agree on. Only the first counts: two nodes may both have
    /// thought that they found the cluster.
    fn found(
        &mut self,
        moment: &Moment<'_>,
        cluster: String,
        engine: EngineIdentity,
        limits: Limits,
    ) -> Result<Outcome, Fault> {
        if self.system.founding.is_some() {
            return Ok(Ok(Reply::Ok));
        }
        self.engine.honour(&engine)?;
        Engine::honour_limits(&limits)?;
        let founding = Founding {
            cluster,
            engine,
            limits: limits.clone(),
            time: moment.now,
        };
        let layers = self.layers.as_mut().expect("no command is running");
        self.system.found(founding, layers, moment.revision);
        self.limits = Arc::new(limits);
        Ok(Ok(Reply::Ok))
    }

    /// Goes over to the rules of another engine. Two leaders may both have asked for it.
    fn change_engine(
        &mut self,
        moment: &Moment<'_>,
        engine: EngineIdentity,
    ) -> Result<Outcome, Fault> {
        let newer = self
            .system
            .engine()
            .is_some_and(|runs| engine.rules > runs.rules);
        if newer {
            self.engine.honour(&engine)?;
            self.instances.clear();
            let layers = self.layers.as_mut().expect("no command is running");
            self.system.set_engine(engine, layers, moment.revision);
        }
        Ok(Ok(Reply::Ok))
    }

    fn recorded_call(
        &mut self,
        moment: &Moment<'_>,
        principal: &str,
        plugin: Option<&str>,
        command: &str,
        arguments: Vec<serde_bytes::ByteBuf>,
        events: &mut Vec<crate::Event>,
    ) -> Result<Outcome, Fault> {
        let target = self.catalogue.resolve(plugin, command).ok().cloned();
        let called = Called::Command {
            name: command.to_owned(),
            arguments: arguments.clone(),
        };
        let fuel_before = self.system.running.fuel;
        let outcome = self.call(moment, principal, plugin, command, arguments, events)?;
        let came_to = (&outcome, self.system.running.fuel - fuel_before);
        let answered = target.as_ref().map(|target| &*target.installed);
        self.record_call(moment, principal, answered, called, came_to);
        Ok(outcome)
    }

    fn call(
        &mut self,
        moment: &Moment<'_>,
        principal: &str,
        plugin: Option<&str>,
        command: &str,
        arguments: Vec<serde_bytes::ByteBuf>,
        events: &mut Vec<crate::Event>,
    ) -> Result<Outcome, Fault> {
        let target = match self.catalogue.resolve(plugin, command) {
            Ok(target) => target.clone(),
            Err(rejection) => return Ok(Err(rejection)),
        };
        let installed = &target.installed;
        if let Err(rejection) = check_arguments(target.description(), &arguments, &installed.limits)
        {
            return Ok(Err(rejection));
        }
        if !planted::active(Bug::PolicyAtTheDoor)
            && let Err(denied) = policy::judge_call(&self.policy, principal, &target, &arguments)
        {
            return Ok(Err(denied));
        }
        let access = target.description().access;
        if access == Access::Write && self.writes_wait(installed.id) {
            return Ok(Err(Rejection::new(
                RejectionCode::Migrating,
                format!(
                    "the state of '{}' is being migrated; writes go on when that is done",
                    installed.name
                ),
            )));
        }
        let arguments = arguments
            .into_iter()
            .map(serde_bytes::ByteBuf::into_vec)
            .collect();
        self.run(
            moment,
            0,
            &target.installed,
            access,
            events,
            |instance, task| instance.call(task, target.command, arguments),
        )
    }

    /// Fires due timers, each as a command of its own: atomic, with a time and a generator of its
    /// own. The reply is how many fired.
    fn wake(
        &mut self,
        moment: &Moment<'_>,
        events: &mut Vec<crate::Event>,
    ) -> Result<Outcome, Fault> {
        let mut fired = 0;
        while u64::from(fired) < self.limits.timers_per_wake
            && self.overlay_bytes() <= self.limits.overlay_bytes_max
        {
            let layers = self.layers.as_mut().expect("no command is running");
            let Some(timer) = self
                .timers
                .first(layers)?
                .filter(|timer| timer.due <= moment.now)
            else {
                break;
            };
            let mut removal = Writes::new();
            timers::cancel(layers, &mut removal, timer.plugin, &timer.id)?;
            fired += 1;
            let installed = self.catalogue.by_id(timer.plugin).cloned();
            let waits = self
                .migrations
                .get(&timer.plugin)
                .is_some_and(|moving| moving.row.phase == Phase::Steps);
            if waits {
                let later = moment.now + TIMER_WAIT_NS;
                timers::set(layers, &mut removal, timer.plugin, &timer.id, later)?;
            }
            let usage = usage::after(&self.system.running.usage, layers, &removal)?;
            self.system.running.usage.extend(usage);
            self.timers.note(&removal);
            layers.merge(removal, moment.revision)?;
            let Some(installed) = installed.filter(|_| !waits) else {
                continue;
            };
            let now = if fired == 1 {
                moment.now
            } else {
                self.advance(moment.now)
            };
            let firing = Moment {
                now,
                revision: moment.revision,
                seed: moment.seed,
            };
            let recorded = self.recorder.as_ref();
            let called = recorded.map(|_| Called::Timer(timer.id.clone()));
            let fuel_before = self.system.running.fuel;
            let outcome = self.run(
                &firing,
                fired,
                &installed,
                Access::Write,
                events,
                |instance, task| instance.wake(task, timer.id),
            )?;
            if let Some(called) = called {
                let came_to = (&outcome, self.system.running.fuel - fuel_before);
                self.record_call(&firing, "", Some(&installed), called, came_to);
            }
            if let Err(rejection) = outcome {
                tracing::warn!(plugin = &*installed.name, %rejection, "a timer's handler was rejected");
            }
        }
        Ok(Ok(Reply::Integer(i64::from(fired))))
    }

    /// Runs guest code as one atomic command.
    fn run(
        &mut self,
        moment: &Moment<'_>,
        step: u32,
        installed: &Installed,
        access: Access,
        events: &mut Vec<crate::Event>,
        call: impl FnOnce(&mut Instance, Task) -> Finished,
    ) -> Result<Outcome, Fault> {
        let code = Code {
            space: installed.record.space,
            plugin: &installed.plugin,
            migrating: false,
        };
        let ran = match self.guest(moment, step, installed, code, access, call)? {
            Ok(ran) => ran,
            Err(rejection) => return Ok(Err(rejection)),
        };
        let Ran {
            outcome,
            mut writes,
            events: mut told,
        } = ran;
        if writes.is_empty() {
            self.collector.note(installed, &writes, &told, step > 0);
            events.append(&mut told);
            return Ok(outcome);
        }
        let mirrored = self.mirrored(moment, installed, &writes)?;
        let mut halted = None;
        match mirrored {
            Ok(mirrored) => writes.extend(mirrored),
            Err(reason) => halted = Some(reason),
        }
        let overlay_bytes = self.overlay_bytes() + writes_bytes(&writes);
        // A timer's handler, whose timer would be lost, is let through; `wake` stops behind it.
        if step == 0 && overlay_bytes > self.limits.overlay_bytes_max {
            return Ok(Err(Rejection::new(
                RejectionCode::NoSpace,
                "too much was changed since the last checkpoint; try again after the next one",
            )));
        }
        let usage = usage::after(&self.system.running.usage, self.layers(), &writes)?;
        if let Some(reason) =
            usage::over_quota(&self.system.running.usage, &usage, &installed.limits)
            && !planted::active(Bug::IgnoreQuota)
        {
            return Ok(Err(Rejection::new(RejectionCode::NoSpace, reason)));
        }
        self.system.running.usage.extend(usage);
        self.timers.note(&writes);
        self.note_changes(installed, &writes);
        self.collector.note(installed, &writes, &told, step > 0);
        let layers = self.layers.as_mut().expect("no command is running");
        layers.merge(writes, moment.revision)?;
        events.append(&mut told);
        if let Some(reason) = halted {
            self.fail_migration(moment, installed.id, reason)?;
        }
        Ok(outcome)
    }

    /// Runs guest code. What it wrote is not part of the state yet.
    pub(crate) fn guest(
        &mut self,
        moment: &Moment<'_>,
        step: u32,
        installed: &Installed,
        code: Code<'_>,
        access: Access,
        call: impl FnOnce(&mut Instance, Task) -> Finished,
    ) -> Result<Result<Ran, Rejection>, Fault> {
        let limits = &installed.limits;
        let mut instance = match self.instances.remove(&code.space) {
            Some(instance) => instance,
            None => match self.instantiate(code.plugin, limits) {
                Ok(instance) => instance,
                Err(Stop::Rejected(rejection)) => return Ok(Err(rejection)),
                Err(Stop::Fault(fault)) => return Err(fault),
            },
        };
        let task = Task {
            plugin: installed.id,
            space: code.space,
            plugin_name: Arc::clone(&installed.name),
            access,
            migrating: code.migrating,
            now: moment.now,
            generator: Generator::new(moment.seed, moment.revision.position, step),
            layers: self.layers.take().expect("commands run one at a time"),
            limits: Arc::clone(limits),
            fuel_max: limits.fuel_per_command,
            handing_costs: self.rules() >= RULES_HANDING_COSTS,
            reply_bytes_max: self.reply_bytes_max(limits),
        };
        let finished = call(&mut instance, task);
        if !instance.poisoned {
            self.instances.insert(code.space, instance);
        }
        self.system.running.fuel += finished.fuel;
        installed.spent.add(&finished.outcome, finished.fuel);
        self.layers = Some(finished.layers);
        Ok(Ok(Ran {
            outcome: finished.outcome?,
            writes: finished.writes,
            events: finished.events,
        }))
    }

    /// The size that the next reply may have. All replies of a batch are in memory at the same
    /// time, so once they are large, only small ones are taken.
    fn reply_bytes_max(&self, limits: &Limits) -> usize {
        let left = BATCH_REPLY_BYTES_MAX.saturating_sub(self.batch_reply_bytes);
        (limits.reply_bytes_max as usize).min(left.max(SMALL_REPLY_BYTES))
    }

    fn instantiate(&self, plugin: &Plugin, limits: &Limits) -> Result<Instance, Stop> {
        Instance::new(
            &self.engine,
            &plugin.instance,
            limits.memory_bytes_max,
            limits.fuel_per_command,
        )
    }

    /// The next number of a plugin or a key space.
    pub(crate) fn next_number(&mut self) -> u32 {
        let number = self.system.running.next_plugin;
        self.system.running.next_plugin += 1;
        number
    }
}

/// What an argument counts with, on top of its bytes.
const ARGUMENT_BYTES: usize = 32;

/// What can be said about arguments without running the plugin.
pub(crate) fn check_arguments(
    command: &hostd_protocol::CommandDescription,
    arguments: &[serde_bytes::ByteBuf],
    limits: &Limits,
) -> Result<(), Rejection> {
    let too_large = |message| Err(Rejection::new(RejectionCode::TooLarge, message));
    if arguments.len() > ARGUMENTS_MAX {
        return too_large(format!("there are more than {ARGUMENTS_MAX} arguments"));
    }
    let bytes: usize = arguments
        .iter()
        .map(|argument| argument.len() + ARGUMENT_BYTES)
        .sum();
    if bytes as u64 > limits.arguments_bytes_max {
        return too_large(format!(
            "the arguments are larger than {} bytes",
            limits.arguments_bytes_max
        ));
    }
    command
        .check_arity(arguments.len())
        .map_err(|reason| Rejection::new(RejectionCode::WrongArity, reason))
}
