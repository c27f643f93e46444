//! Machines on disks in memory, fed with the same log.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use hostd_machine::{
    Applied, Budget, Engine, Fault, FlushJob, Input, InstallError, Machine, Plugin, Position,
};
use hostd_protocol::{Command, Entry, Limits, Outcome, entry::Batch};
use serde_bytes::ByteBuf;

use crate::disk::Disk;

/// One engine for the whole process, so that a component is compiled once.
pub fn engine() -> Arc<Engine> {
    static ENGINE: OnceLock<Arc<Engine>> = OnceLock::new();
    Arc::clone(ENGINE.get_or_init(|| Arc::new(Engine::new().expect("an engine"))))
}

/// The component of a crate of this workspace, built once in a process. The engine keeps it
/// compiled.
pub fn component(path: &str) -> Arc<[u8]> {
    static KEPT: Mutex<Vec<Arc<Plugin>>> = Mutex::new(Vec::new());
    let directory = format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR"));
    let component = hostd_testing::component(directory);
    let plugin = engine().compile(&component).expect("a plugin");
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if !kept.iter().any(|other| Arc::ptr_eq(other, &plugin)) {
        kept.push(plugin);
    }
    component
}

/// A machine, its disk, and its place in the log.
#[derive(Debug)]
pub struct Rig {
    /// The machine.
    pub machine: Machine,
    disk: Disk,
    /// The write of a checkpoint that is still to be done.
    flush: Option<FlushJob>,
}

/// What must be equal on every replica.
#[derive(Debug, PartialEq)]
pub struct Seen {
    /// A batch's outcomes, encoded: a NaN is not equal to itself.
    outcomes: Vec<u8>,
    fuel: Vec<u64>,
    events: Vec<hostd_machine::Event>,
}

impl Rig {
    /// A machine on an empty disk.
    pub fn new() -> Self {
        Self::on(Disk::default())
    }

    /// A machine on a disk.
    pub fn on(disk: Disk) -> Self {
        Self::with_engine(engine(), disk)
    }

    /// A machine on a disk, with an engine of its own.
    pub fn with_engine(engine: Arc<Engine>, disk: Disk) -> Self {
        let machine = Machine::open(engine, disk.clone()).expect("the state opens");
        Self {
            machine,
            disk,
            flush: None,
        }
    }

    /// A machine of a cluster with these limits and plugins, after a checkpoint. Made once for
    /// each `made`; what is given out are copies.
    pub fn with_plugins(
        made: &'static OnceLock<Disk>,
        limits: impl FnOnce() -> Limits,
        plugins: &[&str],
    ) -> Self {
        let disk = made.get_or_init(|| {
            let mut commands = vec![Command::Found {
                cluster: "fuzz".into(),
                engine: Engine::identity(),
                limits: limits(),
            }];
            commands.extend(plugins.iter().map(|path| Command::Install {
                principal: "fuzz".into(),
                component: component(path).to_vec(),
            }));
            let mut rig = Self::new();
            let applied = rig.batch(1_000_000, commands);
            assert!(applied.outcomes.iter().all(Result::is_ok));
            rig.checkpoint(1_000_000);
            let Self { machine, disk, .. } = rig;
            drop(machine);
            disk
        });
        Self::on(disk.copy())
    }

    /// The next entry's log index.
    pub fn next_index(&self) -> u64 {
        self.machine
            .position()
            .map_or(1, |position| position.index + 1)
    }

    /// Applies an entry. A checkpoint's write waits for [`Rig::flush`], at the latest until the
    /// next checkpoint.
    pub fn apply(&mut self, entry: Entry) -> Applied {
        self.try_apply(entry)
            .expect("a plugin never causes a fault")
    }

    /// As [`Rig::apply`], where the state may be wrong.
    ///
    /// # Errors
    /// As [`Machine::apply`].
    pub fn try_apply(&mut self, entry: Entry) -> Result<Applied, Fault> {
        if matches!(entry, Entry::Checkpoint { .. }) {
            self.flush();
        }
        let position = Position {
            term: 1,
            index: self.next_index(),
        };
        let mut applied = self.machine.apply(position, Input::Entry(entry))?;
        self.flush = applied.flush.take().or(self.flush.take());
        self.machine.publish();
        Ok(applied)
    }

    /// Writes the last checkpoint to disk, if that is still to be done.
    pub fn flush(&mut self) {
        if let Some(job) = self.flush.take() {
            self.machine.flushed(job.run().expect("it is written"));
            self.machine.publish();
        }
    }

    /// Applies commands together.
    pub fn batch(&mut self, time: u64, commands: Vec<Command>) -> Applied {
        let mut seed = [7; 16];
        seed[..8].copy_from_slice(&self.next_index().to_le_bytes());
        self.apply(Entry::Batch(Batch {
            time,
            seed,
            commands,
        }))
    }

    /// Makes a checkpoint, written to disk, and returns its digest.
    pub fn checkpoint(&mut self, time: u64) -> [u8; 32] {
        self.apply(Entry::Checkpoint {
            time,
            previous: None,
        });
        self.flush();
        self.machine.durable().digest
    }

    /// The process dies and starts again: what was not on disk is gone.
    #[must_use]
    pub fn restart(self) -> Self {
        let Self {
            machine,
            disk,
            flush,
        } = self;
        drop(flush);
        drop(machine);
        Self::on(disk)
    }

    /// What is on disk.
    pub fn into_disk(self) -> Disk {
        let Self { machine, disk, .. } = self;
        drop(machine);
        disk
    }

    /// The chunks of a snapshot of the last checkpoint on disk.
    pub fn snapshot(&self) -> Option<(Position, Vec<Vec<u8>>)> {
        let reader = self.machine.snapshot().expect("no fault")?;
        let position = reader.position();
        let chunks = reader.map(|chunk| chunk.expect("no fault"));
        Some((position, chunks.collect()))
    }

    /// Takes over a snapshot.
    ///
    /// # Errors
    /// As [`Machine::install`].
    pub fn install(
        &mut self,
        position: Position,
        chunks: Vec<Vec<u8>>,
    ) -> Result<(), InstallError> {
        self.flush();
        self.machine.install(position, chunks.into_iter().map(Ok))
    }

    /// Runs a read command.
    pub fn query(&self, plugin: &str, command: &str, arguments: &[ByteBuf]) -> Outcome {
        self.machine
            .views()
            .latest()
            .query(Some(plugin), command, arguments, Budget::Full)
            .expect("a plugin never causes a fault")
    }
}

impl Default for Rig {
    fn default() -> Self {
        Self::new()
    }
}

impl Seen {
    /// Of an entry's application.
    pub fn of(applied: &Applied) -> Self {
        Self {
            outcomes: hostd_protocol::codec::encode(&applied.outcomes),
            fuel: applied.fuel.clone(),
            events: applied.events.clone(),
        }
    }
}
