//! Reading: queries run on an immutable view, beside apply and beside each other.

use std::sync::{Arc, MutexGuard, RwLock};

use hostd_protocol::{
    Access, CommandDescription, EngineIdentity, Limits, Outcome, PluginDescription, PluginInfo,
    Policy, Rejection, RejectionCode, TimeNs,
};
use serde_bytes::ByteBuf;

use crate::apply::check_arguments;
use crate::catalogue::{self, Catalogue, Installed};
use crate::machine::{Parts, Position};
use crate::migration::Migrations;
use crate::plugin::{CompileError, Plugin};
use crate::policy::{self, Action};
use crate::random::Generator;
use crate::store::Layers;
use crate::usage::Usages;
use crate::wasm::{Engine, Instance, QuerySlot, Stop, Task};
use crate::{Fault, show};

/// Idle query instances kept for each plugin.
const IDLE_MAX: usize = 4;

/// Fuel of a query that must not hold up its thread: about a millisecond.
const SHORT_FUEL: u64 = 1_000_000;

/// How long a query may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// About a millisecond; then it is rejected with `fuel_exhausted` and may be run again with
    /// the full budget elsewhere. A query has no effects, so running it twice does no harm.
    Short,
    /// What a command may use.
    Full,
}

/// An instance for queries, and its place among all of them.
pub(crate) struct QueryInstance {
    instance: Instance,
    /// The checkpoint at which instances were dropped last when this one was made. A plugin may
    /// cache what it reads in its memory, so an older instance could answer from an older state.
    checkpoint: Option<u64>,
    /// Declared last: free once the instance is gone.
    _slot: QuerySlot,
}

/// The state after some entry, frozen.
pub struct View {
    pub(crate) engine: Arc<Engine>,
    pub(crate) position: Option<Position>,
    /// Log index of the last checkpoint, durable or not.
    pub(crate) checkpoint: Option<u64>,
    pub(crate) time: TimeNs,
    pub(crate) next_timer: Option<TimeNs>,
    pub(crate) layers: Layers,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) policy: Arc<Policy>,
    pub(crate) migrations: Arc<Migrations>,
    pub(crate) usage: Usages,
    /// Rows of a state that nobody has any more are still to be removed.
    pub(crate) dropping: bool,
    pub(crate) cluster: Option<String>,
    pub(crate) founded: Option<TimeNs>,
    /// The engine in force.
    pub(crate) runs: Option<Arc<EngineIdentity>>,
    /// Instances live for one query only.
    pub(crate) recycle: bool,
}

/// Where the newest published view is found. Cloning is cheap; all clones see the same.
#[derive(Clone)]
pub struct Views(Arc<RwLock<Arc<View>>>);

impl Views {
    pub(crate) fn new(view: Arc<View>) -> Self {
        Self(Arc::new(RwLock::new(view)))
    }

    pub(crate) fn publish(&self, view: Arc<View>) {
        let old = std::mem::replace(
            &mut *self.0.write().expect("no panic holds this lock"),
            view,
        );
        // Dropped outside the lock: it may hold the last reference to a large map.
        drop(old);
    }

    /// The newest view.
    pub fn latest(&self) -> Arc<View> {
        Arc::clone(&self.0.read().expect("no panic holds this lock"))
    }
}

impl View {
    pub(crate) fn new(engine: &Arc<Engine>, parts: &Parts) -> Self {
        Self {
            engine: Arc::clone(engine),
            position: parts.durable.position,
            checkpoint: parts.durable.position.map(|position| position.index),
            time: parts.system.running.time,
            next_timer: parts.next_timer,
            layers: parts.layers.clone(),
            catalogue: Arc::clone(&parts.catalogue),
            limits: Arc::clone(&parts.limits),
            policy: Arc::clone(&parts.policy),
            migrations: Arc::clone(&parts.migrations),
            usage: parts.system.running.usage.clone(),
            dropping: !parts.system.running.dropping.is_empty(),
            cluster: parts
                .system
                .founding
                .as_ref()
                .map(|founding| founding.cluster.clone()),
            founded: parts.system.founding.as_ref().map(|founding| founding.time),
            runs: parts.system.engine().cloned(),
            recycle: false,
        }
    }

    /// The last entry that this view includes.
    pub fn position(&self) -> Option<Position> {
        self.position
    }

    /// Time of the last command that this view includes.
    pub fn time(&self) -> TimeNs {
        self.time
    }

    /// The cluster's identity, once it is founded.
    pub fn cluster(&self) -> Option<&str> {
        self.cluster.as_deref()
    }

    /// Time of the cluster's first command.
    pub fn founded(&self) -> Option<TimeNs> {
        self.founded
    }

    /// The engine in force, once the cluster is founded.
    pub fn runs(&self) -> Option<&EngineIdentity> {
        self.runs.as_deref()
    }

    /// The engines that this node can honour, oldest first.
    pub fn honours(&self) -> &[EngineIdentity] {
        self.engine.honours()
    }

    /// Limits in force.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Who may do what.
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// Whether its policy lets an identity call a command; why not otherwise. A command that is not
    /// known may be called: that it is not known is the answer.
    pub fn may_call(
        &self,
        identity: &str,
        plugin: Option<&str>,
        command: &str,
        arguments: &[ByteBuf],
    ) -> Result<(), Rejection> {
        policy::judge(&self.policy, identity, Action::Enter)?;
        match self.catalogue.resolve(plugin, command) {
            Ok(target) => policy::judge_call(&self.policy, identity, target, arguments),
            Err(_) => Ok(()),
        }
    }

    /// The plugins.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Every plugin's description, sorted by name.
    pub fn descriptions(&self) -> Vec<PluginDescription> {
        self.catalogue
            .plugins()
            .map(|(description, _)| description.clone())
            .collect()
    }

    /// Whether there is work for [`hostd_protocol::Command::Work`].
    pub fn has_work(&self) -> bool {
        self.dropping || !self.migrations.is_empty()
    }

    /// Every plugin with its versions, sorted by name.
    pub fn plugins(&self) -> Vec<PluginInfo> {
        show::plugins(self)
    }

    /// The bytes of a component that is kept or uploaded.
    pub fn component(&self, digest: &[u8; 32]) -> Result<Option<Arc<[u8]>>, Fault> {
        catalogue::component(&self.layers, digest)
    }

    /// Validates and compiles a component that is kept or uploaded; `None` when there is none with
    /// this digest.
    pub fn compile(&self, digest: &[u8; 32]) -> Result<Option<Arc<Plugin>>, CompileError> {
        match self.component(digest)? {
            Some(component) => self.engine.compile(&component).map(Some),
            None => Ok(None),
        }
    }

    /// When the first timer is due.
    pub fn next_timer(&self) -> Option<TimeNs> {
        self.next_timer
    }

    /// Finds a command and checks what can be checked without running it. A write that passes
    /// here can still be refused at apply, where the catalogue may be another.
    pub fn resolve(
        &self,
        plugin: Option<&str>,
        command: &str,
        arguments: &[ByteBuf],
    ) -> Result<&CommandDescription, Rejection> {
        let target = self.catalogue.resolve(plugin, command)?;
        let description = target.description();
        check_arguments(description, arguments, &target.installed.limits)?;
        Ok(description)
    }

    /// Runs a read command. Takes as long as the command does, in the caller's thread.
    ///
    /// Random numbers drawn in a query are the same for the same state.
    pub fn query(
        &self,
        plugin: Option<&str>,
        command: &str,
        arguments: &[ByteBuf],
        budget: Budget,
    ) -> Result<Outcome, Fault> {
        let (outcome, _fuel) = self.query_measured(plugin, command, arguments, budget)?;
        Ok(outcome)
    }

    /// As [`View::query`], with the fuel that was used.
    pub fn query_measured(
        &self,
        plugin: Option<&str>,
        command: &str,
        arguments: &[ByteBuf],
        budget: Budget,
    ) -> Result<(Outcome, u64), Fault> {
        let refused = |rejection| Ok((Err(rejection), 0));
        let target = match self.catalogue.resolve(plugin, command) {
            Ok(target) => target,
            Err(rejection) => return refused(rejection),
        };
        let description = target.description();
        let limits = &target.installed.limits;
        if let Err(rejection) = check_arguments(description, arguments, limits) {
            return refused(rejection);
        }
        if description.access == Access::Write {
            let message = format!("'{}' is a write command", description.name);
            return refused(Rejection::new(RejectionCode::ReadOnly, message));
        }
        let mut held = match self.instance(&target.installed) {
            Ok(held) => held,
            Err(Stop::Rejected(rejection)) => return refused(rejection),
            Err(Stop::Fault(fault)) => return Err(fault),
        };
        let mut seed = [0; 16];
        seed[..8].copy_from_slice(&self.time.to_le_bytes());
        let task = Task {
            plugin: target.installed.id,
            space: target.installed.record.space,
            migrating: false,
            plugin_name: Arc::clone(&target.installed.name),
            access: Access::Read,
            now: self.time,
            generator: Generator::new(&seed, u32::MAX, 0),
            layers: self.layers.clone(),
            limits: Arc::clone(limits),
            fuel_max: match budget {
                Budget::Short => limits.fuel_per_command.min(SHORT_FUEL),
                Budget::Full => limits.fuel_per_command,
            },
            // The log's rules say so; a query that nobody else makes may as well.
            handing_costs: true,
            reply_bytes_max: limits.reply_bytes_max as usize,
        };
        let arguments = arguments.iter().map(|argument| argument.to_vec()).collect();
        let finished = held
            .instance
            .call(task, Arc::clone(&target.command), arguments);
        target.installed.spent.add(&finished.outcome, finished.fuel);
        if !held.instance.poisoned && !self.recycle {
            target.installed.put_idle(held);
        }
        Ok((finished.outcome?, finished.fuel))
    }

    /// Size of the changes since the last checkpoint.
    pub fn overlay_bytes(&self) -> u64 {
        self.layers.overlay_bytes()
    }

    fn instance(&self, installed: &Installed) -> Result<QueryInstance, Stop> {
        if let Some(idle) = installed.take_idle(self.checkpoint) {
            return Ok(idle);
        }
        let slot = self.slot().map_err(Stop::Fault)?;
        let instance = Instance::new(
            &self.engine,
            &installed.plugin.instance,
            installed.limits.memory_bytes_max,
            installed.limits.fuel_per_command,
        )?;
        Ok(QueryInstance {
            instance,
            checkpoint: self.checkpoint,
            _slot: slot,
        })
    }

    /// A place for one more instance. Where none is left, another plugin's idle one gives up its own.
    fn slot(&self) -> Result<QuerySlot, Fault> {
        if let Some(slot) = self.engine.query_slot() {
            return Ok(slot);
        }
        let idle = self
            .catalogue
            .installed()
            .find_map(|installed| installed.lock_idle().pop());
        drop(idle);
        self.engine
            .query_slot()
            .ok_or_else(|| Fault::Instances("too many queries run at once".into()))
    }
}

impl Installed {
    fn lock_idle(&self) -> MutexGuard<'_, Vec<QueryInstance>> {
        self.idle.lock().expect("no panic holds this lock")
    }

    /// An idle instance made since `checkpoint`. Older ones are dropped.
    fn take_idle(&self, checkpoint: Option<u64>) -> Option<QueryInstance> {
        let mut idle = self.lock_idle();
        idle.retain(|held| held.checkpoint >= checkpoint);
        let position = idle
            .iter()
            .rposition(|held| held.checkpoint == checkpoint)?;
        Some(idle.swap_remove(position))
    }

    fn put_idle(&self, held: QueryInstance) {
        let mut idle = self.lock_idle();
        if idle.len() < IDLE_MAX {
            idle.push(held);
        }
    }
}
