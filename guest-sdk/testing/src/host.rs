//! A node of one, driven by a test.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use hostd_machine::{Applied, Budget, Engine, Input, Machine, Plugin, Position};
use hostd_protocol::{
    Access, Batch, Command, Entry, Limits, Outcome, Rejection, RejectionCode, TimeNs,
};
use serde_bytes::ByteBuf;

use crate::disk::Disk;

pub use hostd_machine::Event;

/// The time at which a test begins: 2025-01-01T00:00:00Z.
const START: TimeNs = 1_735_689_600_000_000_000;

/// Wakes in one instant before the test is told that its timers never stop. Each fires up to 256.
const WAKES_MAX: u32 = 200;

/// A plugin in the real machine, with a clock and random numbers that are the test's.
///
/// Time stands still, but for the nanosecond by which every command is later than the one before,
/// until [`Host::advance`] moves it.
pub struct Host {
    /// `None` only while it restarts.
    machine: Option<Machine>,
    disk: Disk,
    index: u64,
    clock: TimeNs,
    seed: u64,
    events: Vec<Event>,
    fuel: u64,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Host")
            .field("index", &self.index)
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

impl Host {
    /// A new cluster of one with a plugin, under the default limits.
    ///
    /// # Panics
    /// When the bytes are no plugin, saying what is wrong with them.
    pub fn new(component: &[u8]) -> Self {
        Self::with_limits(component, Limits::default())
    }

    /// A new cluster of one with a plugin, under other limits.
    ///
    /// # Panics
    /// When the bytes are no plugin, saying what is wrong with them.
    pub fn with_limits(component: &[u8], limits: Limits) -> Self {
        show_logs();
        // The reason in full, which a replicated outcome does not carry.
        match engine().compile(component) {
            Ok(plugin) => keep(plugin),
            Err(error) => panic!("this is no plugin: {error}"),
        }
        let disk = Disk::default();
        let mut host = Self {
            machine: Some(open(&disk)),
            disk,
            index: 0,
            clock: START,
            seed: 0,
            events: Vec::new(),
            fuel: 0,
        };
        let founding = Command::Found {
            cluster: "test".into(),
            engine: Engine::identity(),
            limits,
        };
        let install = Command::Install {
            principal: "test".into(),
            component: component.to_vec(),
        };
        for command in [founding, install] {
            if let Err(rejection) = host.apply(command) {
                panic!("the plugin cannot be installed: {rejection}");
            }
        }
        host
    }

    /// Calls a command, as a client would: a write goes through the log, a read does not. The
    /// instance is dropped after a write.
    pub fn call(&mut self, command: &str, arguments: &[&str]) -> Outcome {
        let arguments: Vec<&[u8]> = arguments.iter().map(|text| text.as_bytes()).collect();
        self.call_bytes(command, &arguments)
    }

    /// As [`Host::call`], with arguments that need not be text.
    pub fn call_bytes(&mut self, command: &str, arguments: &[&[u8]]) -> Outcome {
        let arguments: Vec<ByteBuf> = arguments
            .iter()
            .map(|bytes| ByteBuf::from(bytes.to_vec()))
            .collect();
        let view = self.machine().views().latest();
        let access = view.resolve(None, command, &arguments)?.access;
        match access {
            Access::Read => view
                .query(None, command, &arguments, Budget::Full)
                .expect("a query on memory has no faults"),
            Access::Write => self.apply(Command::Call {
                principal: "test".into(),
                plugin: None,
                command: command.into(),
                arguments,
                once: None,
            }),
        }
    }

    /// Lets time pass. Timers fire when they fall due on the way, in order. Returns how many did.
    ///
    /// # Panics
    /// When timers keep setting themselves for the instant at which they fire.
    pub fn advance(&mut self, duration: Duration) -> u64 {
        let nanos = TimeNs::try_from(duration.as_nanos()).unwrap_or(TimeNs::MAX);
        let end = self.now().saturating_add(nanos);
        let mut fired = 0;
        let mut wakes = 0;
        while let Some(due) = self.next_timer().filter(|due| *due <= end) {
            // What a handler sets for now, or for the past, is due a nanosecond later.
            wakes = if due > self.now() + 1 { 0 } else { wakes + 1 };
            assert!(
                wakes < WAKES_MAX,
                "timers keep setting themselves for now: each must be set to a later time"
            );
            self.clock = self.clock.max(due);
            if let Ok(hostd_protocol::Reply::Integer(count)) = self.apply(Command::Wake) {
                fired += count as u64;
            }
        }
        self.clock = end;
        fired
    }

    /// The time of the last command, or what [`Host::advance`] moved it to: nanoseconds since the
    /// Unix epoch.
    pub fn now(&self) -> TimeNs {
        self.clock.max(self.machine().views().latest().time())
    }

    /// When the next timer is due.
    pub fn next_timer(&self) -> Option<TimeNs> {
        self.machine().views().latest().next_timer()
    }

    /// Draws other random numbers from here on. Hosts with the same seeds and calls draw the
    /// same.
    pub fn reseed(&mut self, seed: u64) {
        self.seed = seed;
    }

    /// The events published since the last time this was asked.
    pub fn events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// The fuel that the last write used: about one unit for each WebAssembly instruction.
    pub fn fuel(&self) -> u64 {
        self.fuel
    }

    /// A digest of the whole state: two hosts with the same state have the same.
    pub fn digest(&self) -> [u8; 32] {
        self.machine().durable().digest
    }

    /// Stops the node and starts it again on the same disk.
    pub fn restart(&mut self) {
        // The database is closed before it is opened again.
        self.machine = None;
        self.machine = Some(open(&self.disk));
    }

    /// Runs a command through the log, then a checkpoint, which drops all instances.
    fn apply(&mut self, command: Command) -> Outcome {
        let time = self.clock;
        let batch = Batch {
            time,
            seed: self.next_seed(),
            commands: vec![command],
        };
        let applied = self.entry(Entry::Batch(batch));
        self.fuel = applied.fuel.iter().sum();
        self.events.extend(applied.events);
        let checkpoint = self.entry(Entry::Checkpoint {
            time,
            previous: None,
        });
        let job = checkpoint.flush.expect("a checkpoint is written");
        let flushed = job.run().expect("writing to memory has no faults");
        let machine = self.machine.as_mut().expect("the node is running");
        machine.flushed(flushed);
        machine.publish();
        let mut outcomes = applied.outcomes;
        outcomes.pop().unwrap_or_else(|| {
            let message = "the command has no outcome";
            Err(Rejection::new(RejectionCode::Trapped, message))
        })
    }

    fn entry(&mut self, entry: Entry) -> Applied {
        self.index += 1;
        let position = Position {
            term: 1,
            index: self.index,
        };
        let machine = self.machine.as_mut().expect("the node is running");
        machine
            .apply(position, Input::Entry(entry))
            .expect("a node on memory has no faults")
    }

    /// Another one for each entry.
    fn next_seed(&self) -> [u8; 16] {
        let mut seed = [0; 16];
        seed[..8].copy_from_slice(&self.seed.to_le_bytes());
        seed[8..].copy_from_slice(&self.index.to_le_bytes());
        seed
    }

    fn machine(&self) -> &Machine {
        self.machine.as_ref().expect("the node is running")
    }
}

fn open(disk: &Disk) -> Machine {
    Machine::open(engine(), disk.clone()).expect("the disk holds what was written to it")
}

/// One engine for all tests of a process, so that a component is compiled once.
fn engine() -> Arc<Engine> {
    static ENGINE: OnceLock<Arc<Engine>> = OnceLock::new();
    let engine = ENGINE.get_or_init(|| Arc::new(Engine::new().expect("an engine can be made")));
    Arc::clone(engine)
}

/// The engine forgets a plugin that nobody has; the next test wants it again.
fn keep(plugin: Arc<Plugin>) {
    static KEPT: Mutex<Vec<Arc<Plugin>>> = Mutex::new(Vec::new());
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if !kept.iter().any(|other| Arc::ptr_eq(other, &plugin)) {
        kept.push(plugin);
    }
}

/// Shows what plugins log, and so why they panic, with the output of the test. `RUST_LOG` says
/// how much.
fn show_logs() {
    use tracing_subscriber::EnvFilter;

    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // A test that has its own subscriber keeps it.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_test_writer()
        .without_time()
        .try_init();
}
