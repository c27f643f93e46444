//! Applying entries: the one place where state changes.

use std::sync::Arc;

use hostd_planted::{self as planted, Bug};
use hostd_protocol::entry::CheckpointDigest;
use hostd_protocol::{
    ARGUMENTS_MAX, Access, Batch, Command, EngineIdentity, Entry, Limits, Once, Outcome, Rejection,
    RejectionCode, Reply, TimeNs,
};

use crate::catalogue::{Catalogue, Installed};
use crate::machine::{Applied, Input, Machine, Position};
use crate::plugin::CompileError;
use crate::random::Generator;
use crate::sessions::Admission;
use crate::store::{Revision, Writes, writes_bytes};
use crate::system::Founding;
use crate::wasm::{Engine, Finished, Instance, Stop, Task};
use crate::{Fault, timers};

/// Replies of one batch together, and the size up to which a reply is taken in any case. Part of the
/// rules.
const BATCH_REPLY_BYTES_MAX: usize = 64 << 20;
const SMALL_REPLY_BYTES: usize = 4 << 10;

/// One command's place and time.
struct Moment<'a> {
    revision: Revision,
    now: TimeNs,
    seed: &'a [u8; 16],
}

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
            let outcome = self.command(&moment, command, applied.events.as_mut())?;
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
            Command::Install { component, .. } => self.install_plugin(moment, &component),
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
                let outcome = self.call(moment, plugin.as_deref(), &command, arguments, events)?;
                if let Some(once) = &once {
                    self.record(once, &principal, &outcome);
                }
                Ok(outcome)
            }
            Command::OpenSession { principal } => {
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
        Engine::honour(&engine, &limits)?;
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

    fn install_plugin(&mut self, moment: &Moment<'_>, component: &[u8]) -> Result<Outcome, Fault> {
        if component.len() as u64 > self.limits.component_bytes_max {
            let message = format!(
                "the component is larger than {} bytes",
                self.limits.component_bytes_max
            );
            return Ok(Err(Rejection::new(RejectionCode::TooLarge, message)));
        }
        let plugin = match self.engine.compile(component) {
            Ok(plugin) => plugin,
            Err(CompileError::Fault(fault)) => return Err(fault),
            Err(CompileError::Plugin(error)) => {
                tracing::warn!(%error, "a plugin was refused");
                return Ok(Err(Rejection::new(
                    RejectionCode::InvalidArgument,
                    error.kind(),
                )));
            }
        };
        let name = &plugin.description().name;
        if let Some(installed) = self.catalogue.get(name) {
            if installed.plugin.digest() == plugin.digest() {
                return Ok(Ok(Reply::Ok));
            }
            let message = format!(
                "the cluster has another version of '{name}'; to replace it: hostctl plugin upgrade FILE"
            );
            return Ok(Err(Rejection::new(
                RejectionCode::Rejected("already_installed".into()),
                message,
            )));
        }
        if self.catalogue.installed().count() as u64 >= self.limits.plugins_max {
            let message = format!(
                "the cluster has {} plugins, as many as it may",
                self.limits.plugins_max
            );
            return Ok(Err(Rejection::new(RejectionCode::TooLarge, message)));
        }
        let id = self.system.running.next_plugin;
        self.system.running.next_plugin += 1;
        let rows = Catalogue::rows(id, &plugin, component);
        self.layers
            .as_mut()
            .expect("no command is running")
            .merge(rows, moment.revision)?;
        let mut catalogue = Catalogue::clone(&self.catalogue);
        catalogue.insert(id, plugin);
        self.catalogue = Arc::new(catalogue);
        Ok(Ok(Reply::Ok))
    }

    fn call(
        &mut self,
        moment: &Moment<'_>,
        plugin: Option<&str>,
        command: &str,
        arguments: Vec<serde_bytes::ByteBuf>,
        events: &mut Vec<crate::Event>,
    ) -> Result<Outcome, Fault> {
        let target = match self.catalogue.resolve(plugin, command) {
            Ok(target) => target.clone(),
            Err(rejection) => return Ok(Err(rejection)),
        };
        if let Err(rejection) = check_arguments(target.description(), &arguments, &self.limits) {
            return Ok(Err(rejection));
        }
        let access = target.description().access;
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
        while fired < self.limits.timers_per_wake
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
            self.timers.note(&removal);
            layers.merge(removal, moment.revision)?;
            fired += 1;
            let Some(installed) = self.catalogue.by_id(timer.plugin).cloned() else {
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
            let outcome = self.run(
                &firing,
                fired,
                &installed,
                Access::Write,
                events,
                |instance, task| instance.wake(task, timer.id),
            )?;
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
        let mut instance = match self.instances.remove(&installed.id) {
            Some(instance) => instance,
            None => match self.instantiate(installed) {
                Ok(instance) => instance,
                Err(Stop::Rejected(rejection)) => return Ok(Err(rejection)),
                Err(Stop::Fault(fault)) => return Err(fault),
            },
        };
        let task = Task {
            plugin: installed.id,
            plugin_name: Arc::clone(&installed.name),
            access,
            now: moment.now,
            generator: Generator::new(moment.seed, moment.revision.position, step),
            layers: self.layers.take().expect("commands run one at a time"),
            limits: Arc::clone(&self.limits),
            fuel_max: self.limits.fuel_per_command,
            reply_bytes_max: self.reply_bytes_max(),
        };
        let mut finished = call(&mut instance, task);
        if !instance.poisoned {
            self.instances.insert(installed.id, instance);
        }
        self.system.running.fuel += finished.fuel;
        let layers = self.layers.insert(finished.layers);
        let overlay_bytes = layers.overlay_bytes() + writes_bytes(&finished.writes);
        // A timer's handler, whose timer would be lost, is let through; `wake` stops behind it.
        if step == 0 && overlay_bytes > self.limits.overlay_bytes_max && !finished.writes.is_empty()
        {
            return Ok(Err(Rejection::new(
                RejectionCode::NoSpace,
                "too much was changed since the last checkpoint; try again after the next one",
            )));
        }
        self.timers.note(&finished.writes);
        layers.merge(finished.writes, moment.revision)?;
        events.append(&mut finished.events);
        finished.outcome
    }

    /// The size that the next reply may have. All replies of a batch are in memory at the same
    /// time, so once they are large, only small ones are taken.
    fn reply_bytes_max(&self) -> usize {
        let left = BATCH_REPLY_BYTES_MAX.saturating_sub(self.batch_reply_bytes);
        (self.limits.reply_bytes_max as usize).min(left.max(SMALL_REPLY_BYTES))
    }

    fn instantiate(&self, installed: &Installed) -> Result<Instance, Stop> {
        let limits = &self.limits;
        Instance::new(
            &self.engine,
            &installed.plugin.instance,
            limits.memory_bytes_max,
            limits.fuel_per_command,
        )
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
