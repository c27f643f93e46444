//! A machine on a disk of its own, fed with entries.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use hostd_machine::{Applied, Budget, Engine, Fault, FlushJob, Input, Machine, Plugin, Position};
use hostd_protocol::entry::CheckpointDigest;
use hostd_protocol::{Batch, Command, Entry, Limits, Once, Outcome, RejectionCode, Reply};
use redb::StorageBackend;

/// Components are built and the engine is made once for all tests of a process.
pub fn engine() -> Arc<Engine> {
    static ENGINE: OnceLock<Arc<Engine>> = OnceLock::new();
    Arc::clone(ENGINE.get_or_init(|| Arc::new(Engine::new().expect("an engine"))))
}

/// The component of a crate, given relative to the workspace.
pub fn component(path: &str) -> Vec<u8> {
    let directory = format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR"));
    let built = hostd_plugin_build::build(&directory, &hostd_plugin_build::Options::default())
        .unwrap_or_else(|error| panic!("building {path}: {error:#}"));
    Plugin::component_bytes(&built.component).expect("a component")
}

pub fn hostile() -> Vec<u8> {
    // Held, so that the engine does not compile it for each test.
    static HOSTILE: OnceLock<(Vec<u8>, Arc<Plugin>)> = OnceLock::new();
    let (component, _) = HOSTILE.get_or_init(|| {
        let component = component("tests/fixtures/hostile");
        let plugin = engine().compile(&component).expect("a plugin");
        (component, plugin)
    });
    component.clone()
}

/// The same plugin under another name, as long as its own.
pub fn hostile_named(name: &str) -> Vec<u8> {
    let (mut component, own) = (hostile(), b"hostile");
    assert_eq!(name.len(), own.len());
    for at in 0..component.len() - own.len() {
        if component[at..].starts_with(own) {
            component[at..at + own.len()].copy_from_slice(name.as_bytes());
        }
    }
    component
}

/// A disk in memory that outlives the machine on it.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    bytes: Arc<Mutex<Vec<u8>>>,
    broken: Arc<AtomicBool>,
    journal: Arc<Mutex<Option<Vec<Change>>>>,
}

/// What was done to a disk.
#[derive(Clone, Debug)]
pub enum Change {
    Length(usize),
    Write(usize, Vec<u8>),
    Sync,
}

impl Change {
    pub fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Change::Length(length) => bytes.resize(*length, 0),
            Change::Write(start, data) => {
                bytes[*start..*start + data.len()].copy_from_slice(data);
            }
            Change::Sync => {}
        }
    }
}

impl Disk {
    pub fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }

    pub fn of(bytes: Vec<u8>) -> Self {
        Self {
            bytes: Arc::new(Mutex::new(bytes)),
            ..Self::default()
        }
    }

    /// From now on it cannot be read.
    pub fn breaks(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }

    /// Starts to keep a journal of what is done to the disk.
    pub fn record(&self) {
        *self.journal.lock().unwrap() = Some(Vec::new());
    }

    pub fn recorded(&self) -> Vec<Change> {
        self.journal.lock().unwrap().take().expect("a journal")
    }

    fn change(&self, change: Change) {
        change.apply(&mut self.bytes.lock().unwrap());
        if let Some(journal) = &mut *self.journal.lock().unwrap() {
            journal.push(change);
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(io::Error::other("the disk is broken"));
        }
        let bytes = self.bytes.lock().unwrap();
        let start = offset as usize;
        let end = start
            .checked_add(out.len())
            .filter(|end| *end <= bytes.len());
        out.copy_from_slice(&bytes[start..end.ok_or(io::ErrorKind::UnexpectedEof)?]);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.change(Change::Length(length as usize));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.change(Change::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Change::Write(offset as usize, data.to_vec()));
        Ok(())
    }
}

/// A log that machines can be fed from.
#[derive(Default)]
pub struct Log(pub Vec<Entry>);

impl Log {
    /// A founded cluster with these plugins.
    pub fn founded(components: Vec<Vec<u8>>) -> Self {
        Self::with_limits(components, Limits::default())
    }

    pub fn with_limits(components: Vec<Vec<u8>>, limits: Limits) -> Self {
        let mut commands = vec![Command::Found {
            cluster: "test".into(),
            engine: Engine::identity(),
            limits,
        }];
        commands.extend(components.into_iter().map(|component| Command::Install {
            principal: "test".into(),
            component,
        }));
        let mut log = Self::default();
        log.batch(1_000_000, commands);
        log
    }

    pub fn batch(&mut self, time: u64, commands: Vec<Command>) -> &mut Self {
        let mut seed = [0; 16];
        seed[..8].copy_from_slice(&(self.0.len() as u64).to_le_bytes());
        self.0.push(Entry::Batch(Batch {
            time,
            seed,
            commands,
        }));
        self
    }

    pub fn calls(&mut self, time: u64, calls: &[&str]) -> &mut Self {
        self.batch(time, calls.iter().map(|line| call(line)).collect())
    }

    pub fn checkpoint(&mut self, time: u64) -> &mut Self {
        self.0.push(Entry::Checkpoint {
            time,
            previous: None,
        });
        self
    }
}

/// A call, written as one would type it.
pub fn call(line: &str) -> Command {
    let mut words = line.split_whitespace();
    Command::Call {
        principal: "test".into(),
        plugin: None,
        command: words.next().expect("a command").into(),
        arguments: words.map(|word| word.as_bytes().to_vec().into()).collect(),
        once: None,
    }
}

/// The same, as the `sequence`th of a session.
pub fn call_once(line: &str, session: u64, sequence: u64) -> Command {
    let Command::Call {
        principal,
        plugin,
        command,
        arguments,
        ..
    } = call(line)
    else {
        unreachable!()
    };
    let once = Some(Once::Session {
        session,
        sequence,
        acknowledged: 0,
    });
    Command::Call {
        principal,
        plugin,
        command,
        arguments,
        once,
    }
}

/// A machine and where it is in the log. Flushes run at once, unless held back.
pub struct Rig {
    pub machine: Machine,
    pub disk: Disk,
}

/// Everything about an entry's application that must be equal on every replica.
pub type Seen = (Vec<Outcome>, Vec<u64>);

impl Rig {
    pub fn new() -> Self {
        Self::on(Disk::default())
    }

    pub fn on(disk: Disk) -> Self {
        Self::with_engine(engine(), disk)
    }

    pub fn with_engine(engine: Arc<Engine>, disk: Disk) -> Self {
        let machine = Machine::open(engine, disk.clone()).expect("the state opens");
        Self { machine, disk }
    }

    pub fn next_index(&self) -> u64 {
        self.machine
            .position()
            .map_or(1, |position| position.index + 1)
    }

    pub fn apply(&mut self, entry: &Entry) -> Applied {
        let (mut applied, job) = self.apply_holding_flush(entry);
        if let Some(job) = job {
            self.machine.flushed(job.run().expect("the flush succeeds"));
        }
        self.machine.publish();
        applied.flush = None;
        applied
    }

    pub fn apply_holding_flush(&mut self, entry: &Entry) -> (Applied, Option<FlushJob>) {
        let position = Position {
            term: 1,
            index: self.next_index(),
        };
        let mut applied = self
            .machine
            .apply(position, Input::Entry(entry.clone()))
            .expect("no fault");
        let job = applied.flush.take();
        (applied, job)
    }

    /// Applies what this machine lacks of the log.
    pub fn follow(&mut self, log: &Log) -> Vec<Seen> {
        let from = self.next_index() as usize - 1;
        log.0[from..]
            .iter()
            .map(|entry| {
                let applied = self.apply(entry);
                (applied.outcomes, applied.fuel)
            })
            .collect()
    }

    /// Applies one call at a time and returns its outcome.
    pub fn call(&mut self, time: u64, line: &str) -> Outcome {
        self.command(time, call(line))
    }

    pub fn command(&mut self, time: u64, command: Command) -> Outcome {
        let entry = Entry::Batch(Batch {
            time,
            seed: [9; 16],
            commands: vec![command],
        });
        self.apply(&entry).outcomes.remove(0)
    }

    pub fn checkpoint(&mut self, time: u64) -> CheckpointDigest {
        self.apply(&Entry::Checkpoint {
            time,
            previous: None,
        });
        self.digest()
    }

    /// The last durable checkpoint.
    pub fn digest(&self) -> CheckpointDigest {
        let durable = self.machine.durable();
        CheckpointDigest {
            index: durable.position.map_or(0, |position| position.index),
            digest: durable.digest,
        }
    }

    pub fn query(&self, line: &str) -> Outcome {
        self.try_query(line).expect("no fault")
    }

    pub fn try_query(&self, line: &str) -> Result<Outcome, Fault> {
        let Command::Call {
            command, arguments, ..
        } = call(line)
        else {
            unreachable!()
        };
        let view = self.machine.views().latest();
        view.query(None, &command, &arguments, Budget::Full)
    }

    /// The process dies and starts again: what was not on disk is gone.
    pub fn restart(self) -> Self {
        let Self { machine, disk } = self;
        drop(machine);
        Self::on(disk)
    }

    /// Takes over another node's snapshot.
    pub fn install(&mut self, other: &Self) {
        let chunks = other
            .machine
            .snapshot()
            .expect("no fault")
            .expect("a checkpoint");
        self.machine
            .install(
                chunks.position(),
                chunks.map(|chunk| Ok(chunk.expect("no fault"))),
            )
            .expect("installs");
    }

    /// Another node, made from this one's snapshot.
    pub fn clone_by_snapshot(&self) -> Self {
        let mut other = Self::new();
        other.install(self);
        other
    }
}

pub fn integer(outcome: &Outcome) -> i64 {
    match outcome {
        Ok(Reply::Integer(value)) => *value,
        other => panic!("expected an integer, got {other:?}"),
    }
}

/// A machine with the hostile plugin, in a cluster with these limits.
pub fn rig_with(limits: Limits) -> Rig {
    let mut rig = Rig::new();
    rig.follow(&Log::with_limits(vec![hostile()], limits));
    rig
}

/// Why an outcome is a rejection.
pub fn code(outcome: &Outcome) -> &RejectionCode {
    &outcome.as_ref().expect_err("a rejection").code
}
