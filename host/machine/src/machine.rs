//! The machine: opened on a state database, fed with log entries in order.

use std::collections::HashMap;
use std::sync::Arc;

use hostd_planted::{self as planted, Bug};
use hostd_protocol::{Changed, Entry, Limits, Outcome, Policy, TimeNs};
use redb::StorageBackend;
use serde::{Deserialize, Serialize};

use crate::catalogue::Catalogue;
use crate::migration::Migrations;
use crate::query::{View, Views};
use crate::record::Recorder;
use crate::rehearsal::Held;
use crate::sessions::Sessions;
use crate::store::{Base, Checkpoint, FlushJob, Flushed, Layers, Revision, StateDigest, Store};
use crate::system::System;
use crate::timers::Front;
use crate::wasm::{Engine, Instance};
use crate::watched::{Collector, NewPast, Past};
use crate::{Fault, OpenError, migration, watched};

/// A log entry's identity: Raft's log id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// Term in which a leader proposed it; a term has one leader at most.
    pub term: u64,
    /// Its place in the log.
    pub index: u64,
}

/// What a log entry holds, as far as the machine is concerned.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// An entry of hostd's own.
    Entry(Entry),
    /// The cluster's members, opaque here; kept as state so that a snapshot carries them.
    Membership(&'a [u8]),
    /// Nothing: a new leader's first entry.
    Blank,
}

/// What applying one entry came to.
#[derive(Debug, Default)]
pub struct Applied {
    /// One for each command of a batch; empty for other entries.
    pub outcomes: Vec<Outcome>,
    /// Fuel of each command.
    pub fuel: Vec<u64>,
    /// Events of the commands that took effect, in order.
    pub events: Vec<Event>,
    /// What commands changed of what plugins show, and what they published, in order.
    pub changed: Vec<Arc<Changed>>,
    /// The write to disk that a checkpoint asks for.
    pub flush: Option<FlushJob>,
    /// This node's state at the previous checkpoint differs from the leader's.
    pub diverged: bool,
}

/// Something a plugin told its subscribers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The plugin's name.
    pub plugin: Arc<str>,
    /// The topic.
    pub topic: String,
    /// The payload.
    pub payload: Vec<u8>,
}

/// What is on disk: the state at the last durable checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Durable {
    /// The entry whose application made it; `None` before the first.
    pub position: Option<Position>,
    /// The members at that point.
    pub membership: Option<Vec<u8>>,
    /// Digest of the state.
    pub digest: [u8; 32],
}

/// The replicated state machine of one node. One thread owns it; readers use [`Views`].
pub struct Machine {
    pub(crate) engine: Arc<Engine>,
    pub(crate) store: Store,
    /// `None` only while a command runs, which holds them.
    pub(crate) layers: Option<Layers>,
    pub(crate) system: System,
    pub(crate) sessions: Sessions,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) policy: Arc<Policy>,
    pub(crate) timers: Front,
    next_timer: Option<TimeNs>,
    /// Migrations that are going on.
    pub(crate) migrations: Arc<Migrations>,
    /// Instances for log commands, by key space. Dropped at every checkpoint.
    pub(crate) instances: HashMap<u32, Instance>,
    /// Size of the replies of the batch that is being applied.
    pub(crate) batch_reply_bytes: usize,
    pub(crate) position: Option<Position>,
    /// Log index of the last checkpoint, durable or not.
    pub(crate) checkpoint: Option<u64>,
    durable: Durable,
    /// Members at the checkpoint that is being written.
    frozen_membership: Option<Vec<u8>>,
    views: Views,
    /// Checkpoints from which the past can be played again.
    pub(crate) held: Arc<Held>,
    /// Who wants to know of each call.
    pub(crate) recorder: Option<Recorder>,
    /// What commands change, for watchers.
    pub(crate) collector: Collector,
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Machine")
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

impl Machine {
    /// Opens the state database, creating it when it is empty, and verifies all of it.
    ///
    /// # Errors
    /// [`OpenError::Corrupt`] when the file is not exactly what was written.
    pub fn open(engine: Arc<Engine>, backend: impl StorageBackend) -> Result<Self, OpenError> {
        let (store, checkpoint) = Store::open(backend)?;
        let parts = Parts::load(&engine, store.base()?.into(), &checkpoint)?;
        Ok(Self::from_parts(engine, store, parts, &checkpoint))
    }

    pub(crate) fn from_parts(
        engine: Arc<Engine>,
        store: Store,
        parts: Parts,
        checkpoint: &Checkpoint,
    ) -> Self {
        let views = Views::new(Arc::new(View::new(&engine, &parts)));
        let held = Arc::new(Held::from(Arc::clone(&parts.layers.base), *checkpoint));
        Self {
            held,
            engine,
            store,
            layers: Some(parts.layers),
            system: parts.system,
            sessions: parts.sessions,
            catalogue: parts.catalogue,
            limits: parts.limits,
            policy: parts.policy,
            timers: parts.timers,
            next_timer: parts.next_timer,
            migrations: parts.migrations,
            instances: HashMap::new(),
            batch_reply_bytes: 0,
            position: checkpoint.position,
            checkpoint: checkpoint.position.map(|position| position.index),
            durable: parts.durable,
            frozen_membership: None,
            views,
            recorder: None,
            collector: Collector::default(),
        }
    }

    /// From now on saves with each checkpoint what was changed, the newest changes up to so many bytes.
    /// Returns those that earlier ones have saved. To be called before anything is applied.
    pub fn keep_past(&mut self, bytes_max: usize) -> Result<Past, Fault> {
        let past = match self.checkpoint {
            Some(index) => watched::load(&self.store.database(), index)?,
            None => Past::default(),
        };
        let from = self.checkpoint.map_or(0, |index| index + 1);
        self.collector.keep(Revision::start_of(from), bytes_max);
        Ok(past)
    }

    /// The last entry applied.
    pub fn position(&self) -> Option<Position> {
        self.position
    }

    /// The replicated clock: the time of the last command applied.
    pub fn time(&self) -> TimeNs {
        self.system.running.time
    }

    /// The version of the rules that commands run by; 0 before the founding.
    pub fn rules(&self) -> u32 {
        match self.engine.honours().last() {
            Some(own) if planted::active(Bug::OwnRules) => own.rules,
            _ => self.system.engine().map_or(0, |engine| engine.rules),
        }
    }

    /// Who may do what.
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// What is on disk.
    pub fn durable(&self) -> &Durable {
        &self.durable
    }

    /// Where queries find the newest published state.
    pub fn views(&self) -> Views {
        self.views.clone()
    }

    /// Makes everything applied so far visible to queries. Called after each group of entries
    /// rather than after each, because the state shares structure with its views: the first
    /// change of a shared part copies it.
    pub fn publish(&self) {
        self.views.publish(Arc::new(View {
            engine: Arc::clone(&self.engine),
            position: self.position,
            checkpoint: self.checkpoint,
            time: if planted::active(Bug::QueriesAhead) {
                self.system.running.time + 2_000_000_000
            } else {
                self.system.running.time
            },
            next_timer: self.next_timer,
            layers: self.layers().clone(),
            catalogue: Arc::clone(&self.catalogue),
            limits: Arc::clone(&self.limits),
            policy: Arc::clone(&self.policy),
            migrations: Arc::clone(&self.migrations),
            usage: self.system.running.usage.clone(),
            dropping: !self.system.running.dropping.is_empty(),
            cluster: self
                .system
                .founding
                .as_ref()
                .map(|founding| founding.cluster.clone()),
            founded: self.system.founding.as_ref().map(|founding| founding.time),
            runs: self.system.engine().cloned(),
            recycle: self
                .recorder
                .as_ref()
                .is_some_and(|recorder| recorder.recycle),
        }));
    }

    /// Size of the changes since the last checkpoint, the same on every replica: a reason to make
    /// the next one.
    pub fn overlay_bytes(&self) -> u64 {
        self.layers().overlay_bytes()
    }

    /// Takes in that a checkpoint is on disk. What was frozen for it is released with the last view
    /// that has it, so publish afterwards.
    pub fn flushed(&mut self, flushed: Flushed) {
        let Flushed { checkpoint, base } = flushed;
        let layers = self.layers.as_mut().expect("no command is running");
        layers.base = Arc::new(base);
        layers.frozen = None;
        self.held.add(Arc::clone(&layers.base), checkpoint);
        self.durable = Durable {
            position: checkpoint.position,
            membership: self.frozen_membership.take(),
            digest: checkpoint.digest,
        };
    }

    /// Freezes the state as it is after the entry at `position` and hands out its write to disk.
    pub(crate) fn freeze(&mut self, position: Position) -> Result<FlushJob, Fault> {
        let layers = self.layers.as_mut().expect("no command is running");
        if layers.frozen.is_some() {
            return Err(Fault::Misuse(
                "a checkpoint before the previous one is on disk".into(),
            ));
        }
        let revision = Revision {
            index: position.index,
            position: 0,
        };
        self.sessions
            .sweep(self.system.running.steady, &self.limits);
        self.sessions.save(layers, revision)?;
        self.system.save(layers, revision);
        let changes = layers.freeze();
        let follows = self.checkpoint.replace(position.index).unwrap_or(0);
        let unsaved = self.collector.take_unsaved(position.index);
        let past = unsaved.map(|unsaved| NewPast { follows, unsaved });
        self.frozen_membership.clone_from(&self.system.membership);
        Ok(FlushJob {
            database: self.store.database(),
            changes,
            position,
            digest: StateDigest::from_bytes(&self.durable.digest),
            past,
        })
    }

    /// Takes over what was loaded of rows that have become the database's.
    pub(crate) fn take_over(&mut self, parts: Parts, checkpoint: &Checkpoint) -> Result<(), Fault> {
        self.instances.clear();
        let layers = Layers::new(self.store.base()?.into());
        self.held.begin_anew(Arc::clone(&layers.base), *checkpoint);
        self.layers = Some(layers);
        self.system = parts.system;
        self.sessions = parts.sessions;
        self.catalogue = parts.catalogue;
        self.limits = parts.limits;
        self.policy = parts.policy;
        self.timers = parts.timers;
        self.migrations = parts.migrations;
        self.next_timer = parts.next_timer;
        self.position = checkpoint.position;
        self.checkpoint = checkpoint.position.map(|position| position.index);
        self.durable = parts.durable;
        self.frozen_membership = None;
        self.collector.begin_anew(self.checkpoint.unwrap_or(0));
        self.publish();
        Ok(())
    }

    /// Looks up which timer is due first, if what was applied changed that.
    pub(crate) fn settle_timers(&mut self) -> Result<(), Fault> {
        let layers = self.layers.as_ref().expect("no command is running");
        self.next_timer = self.timers.first(layers)?.map(|timer| timer.due);
        Ok(())
    }

    pub(crate) fn layers(&self) -> &Layers {
        self.layers.as_ref().expect("no command is running")
    }
}

/// What a durable checkpoint holds, loaded.
pub(crate) struct Parts {
    pub(crate) layers: Layers,
    pub(crate) system: System,
    sessions: Sessions,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) policy: Arc<Policy>,
    pub(crate) timers: Front,
    pub(crate) next_timer: Option<TimeNs>,
    pub(crate) migrations: Arc<Migrations>,
    pub(crate) durable: Durable,
}

impl Parts {
    pub(crate) fn load(
        engine: &Engine,
        rows: Arc<Base>,
        checkpoint: &Checkpoint,
    ) -> Result<Self, Fault> {
        let layers = Layers::new(rows);
        let system = System::load(&layers)?;
        if let Some(asked) = system.engine() {
            engine.honour(asked)?;
            Engine::honour_limits(&system.limits())?;
        }
        let durable = Durable {
            position: checkpoint.position,
            membership: system.membership.clone(),
            digest: checkpoint.digest,
        };
        let mut timers = Front::default();
        let next_timer = timers.first(&layers)?.map(|timer| timer.due);
        Ok(Self {
            timers,
            next_timer,
            sessions: Sessions::load(&layers)?,
            catalogue: Arc::new(Catalogue::load(engine, &layers, &system.limits())?),
            migrations: Arc::new(migration::load(engine, &layers)?),
            limits: Arc::new(system.limits()),
            policy: Arc::new(System::policy(&layers)?),
            layers,
            system,
            durable,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::Founding;

    /// A state that another build of hostd wrote is not opened.
    #[test]
    fn a_state_of_another_engine_is_refused() {
        let open = |rules| {
            let (store, _) = Store::open(redb::backends::InMemoryBackend::new()).unwrap();
            let mut layers = Layers::new(store.base().unwrap().into());
            let mut engine = Engine::identity();
            engine.rules += rules;
            let founding = Founding {
                cluster: "test".into(),
                engine,
                limits: Limits::default(),
                time: 1,
            };
            let mut system = System::load(&layers).unwrap();
            system.found(founding, &mut layers, Revision::default());
            let position = Position { term: 1, index: 1 };
            let job = FlushJob {
                database: store.database(),
                changes: layers.freeze(),
                position,
                digest: StateDigest::default(),
                past: None,
            };
            let checkpoint = job.run().unwrap().checkpoint;
            Parts::load(
                &Engine::new().unwrap(),
                store.base().unwrap().into(),
                &checkpoint,
            )
            .map(|_| ())
        };
        open(0).unwrap();
        assert!(matches!(open(1), Err(Fault::Engine(_))));
    }
}
