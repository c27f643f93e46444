//! A copy of the machine that nobody depends on: it begins at one of the last checkpoints, is fed
//! with logged entries, and is dropped. What it does never reaches the disk.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use hostd_protocol::{Entry, PluginDescription, Rejection, RejectionCode};
use redb::Database;

use crate::Fault;
use crate::apply::Moment;
use crate::catalogue::Catalogue;
use crate::machine::{Applied, Input, Machine, Parts, Position};
use crate::plugin::{CompileError, Plugin};
use crate::query::View;
use crate::record::{CallRecord, Recorder};
use crate::store::{Base, Checkpoint, Revision, Store};
use crate::wasm::Engine;

/// Steps after which a migration in a rehearsal is given up.
const STEPS_MAX: u32 = 100_000;

/// Checkpoints that are held at most. What a held one needs on disk is not used again, so this bounds how
/// much larger the file may be than the state.
const HELD_MAX: usize = 16;

/// The rows of the last checkpoints, each a read transaction.
pub(crate) struct Held(Mutex<VecDeque<(Arc<Base>, Checkpoint)>>);

impl Held {
    pub(crate) fn from(base: Arc<Base>, checkpoint: Checkpoint) -> Self {
        Self(Mutex::new(VecDeque::from([(base, checkpoint)])))
    }

    /// Holds a newer one.
    pub(crate) fn add(&self, base: Arc<Base>, checkpoint: Checkpoint) {
        let mut held = self.lock();
        if held.len() == HELD_MAX {
            held.pop_front();
        }
        held.push_back((base, checkpoint));
    }

    /// Holds this one only: between it and the others the log has a gap.
    pub(crate) fn begin_anew(&self, base: Arc<Base>, checkpoint: Checkpoint) {
        *self.lock() = VecDeque::from([(base, checkpoint)]);
    }

    /// Lets go of those from which the log does not go on any more, but for the newest.
    fn forget_before(&self, first: u64) {
        let mut held = self.lock();
        while held.len() > 1 && held.front().is_some_and(|(_, at)| next(at) < first) {
            held.pop_front();
        }
    }

    /// The newest whose log entries begin at `from` or before; the oldest when there is none.
    fn before(&self, from: u64) -> Option<(Arc<Base>, Checkpoint)> {
        let held = self.lock();
        let newest = held.iter().rev().find(|(_, at)| next(at) <= from);
        newest.or(held.front()).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<(Arc<Base>, Checkpoint)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Index of the first entry behind a checkpoint.
fn next(checkpoint: &Checkpoint) -> u64 {
    checkpoint.position.map_or(0, |position| position.index + 1)
}

/// Where rehearsals begin. Cloning is cheap.
#[derive(Clone)]
pub struct Rehearsals {
    engine: Arc<Engine>,
    database: Arc<Database>,
    held: Arc<Held>,
}

/// A copy of the machine.
pub struct Rehearsal {
    machine: Machine,
    calls: Arc<Mutex<Vec<CallRecord>>>,
}

impl Machine {
    /// Where rehearsals on this machine's state begin.
    pub fn rehearsals(&self) -> Rehearsals {
        Rehearsals {
            engine: Arc::clone(&self.engine),
            database: self.store.database(),
            held: Arc::clone(&self.held),
        }
    }
}

impl Rehearsals {
    /// Lets go of checkpoints that are of no use, now that the log begins at `first`.
    pub fn forget_before(&self, first: u64) {
        self.held.forget_before(first);
    }

    /// Begins at the newest checkpoint that is before the entry at `from`, or at the oldest that is
    /// held. One at a time: the pool of instances has room for one.
    pub fn begin(&self, from: u64) -> Result<Rehearsal, Fault> {
        let Some((rows, checkpoint)) = self.held.before(from) else {
            return Err(Fault::Misuse("no checkpoint is held".into()));
        };
        let parts = Parts::load(&self.engine, rows, &checkpoint)?;
        let (engine, store) = (
            Arc::clone(&self.engine),
            Store::again(Arc::clone(&self.database)),
        );
        let mut machine = Machine::from_parts(engine, store, parts, &checkpoint);
        let calls = Arc::<Mutex<Vec<CallRecord>>>::default();
        let taken = Arc::clone(&calls);
        let sink = Box::new(move |call| {
            taken
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(call);
        });
        machine.recorder = Some(Recorder::new(sink, false));
        Ok(Rehearsal { machine, calls })
    }
}

impl Rehearsal {
    /// The last entry applied; `None` before the first.
    pub fn position(&self) -> Option<Position> {
        self.machine.position()
    }

    /// Applies the next entry, and tells what its calls did.
    pub fn apply(
        &mut self,
        position: Position,
        input: Input<'_>,
    ) -> Result<(Applied, Vec<CallRecord>), Fault> {
        if matches!(input, Input::Entry(Entry::Checkpoint { .. })) {
            let layers = self.machine.layers.as_mut().expect("no command is running");
            layers.unfreeze();
        }
        let mut applied = self.machine.apply(position, input)?;
        applied.flush = None;
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((applied, std::mem::take(&mut *calls)))
    }

    /// Lets a component take over from the version that runs, with the migration that it brings, if it
    /// brings one, to its end. Returns what was done.
    ///
    /// # Errors
    /// Why the component cannot take over, as an upgrade would say it.
    pub fn take_over(&mut self, component: &[u8]) -> Result<Result<String, Rejection>, Fault> {
        let plugin = match self.compile(component)? {
            Ok(plugin) => plugin,
            Err(rejection) => return Ok(Err(rejection)),
        };
        let name = plugin.description().name.clone();
        let running = &self.machine.system.running;
        let (time, position) = (running.time, self.machine.position);
        let moment = Moment {
            revision: Revision {
                index: position.map_or(0, |position| position.index),
                position: u32::MAX,
            },
            now: time,
            seed: &[0; 16],
        };
        let outcome =
            self.machine
                .activate_plugin(&moment, "rehearsal".into(), Arc::clone(&plugin), true)?;
        if let Err(rejection) = outcome {
            return Ok(Err(rejection));
        }
        let mut steps = 0;
        let id = self.machine.catalogue.record(&name).map(|record| record.id);
        while id.is_some_and(|id| self.machine.migrations.contains_key(&id)) {
            if steps == STEPS_MAX {
                return Ok(Err(failed(format!(
                    "the migration has no end after {STEPS_MAX} steps"
                ))));
            }
            steps += 1;
            // Nothing is written to disk here, so nothing waits for a checkpoint.
            let layers = self.machine.layers.as_mut().expect("no command is running");
            layers.unfreeze();
            layers.freeze();
            if let Err(rejection) = self.machine.work(&moment)? {
                return Ok(Err(rejection));
            }
        }
        let record = self.machine.catalogue.record(&name);
        if let Some(record) = record.filter(|record| record.active != Some(plugin.digest())) {
            let reason = record.failed.as_ref().map(|failed| failed.reason.clone());
            return Ok(Err(failed(reason.unwrap_or_default())));
        }
        Ok(Ok(match steps {
            0 => "takes over at once".into(),
            steps => format!("takes over after a migration in {steps} steps"),
        }))
    }

    /// What a component says of itself.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn describe(
        &self,
        component: &[u8],
    ) -> Result<Result<PluginDescription, Rejection>, Fault> {
        let compiled = self.compile(component)?;
        Ok(compiled.map(|plugin| plugin.description().clone()))
    }

    fn compile(&self, component: &[u8]) -> Result<Result<Arc<Plugin>, Rejection>, Fault> {
        match self.machine.engine.compile(component) {
            Ok(plugin) => Ok(Ok(plugin)),
            Err(CompileError::Fault(fault)) => Err(fault),
            Err(CompileError::Plugin(error)) => Ok(Err(Rejection::new(
                RejectionCode::InvalidArgument,
                error.to_string(),
            ))),
        }
    }

    /// The plugins as they are now.
    pub fn catalogue(&self) -> Arc<Catalogue> {
        Arc::clone(&self.machine.catalogue)
    }

    /// The state as it is now.
    pub fn view(&self) -> Arc<View> {
        self.machine.publish();
        self.machine.views().latest()
    }
}

/// A migration that came to nothing.
fn failed(reason: String) -> Rejection {
    Rejection::new(RejectionCode::Rejected("migration_failed".into()), reason)
}
