//! A simulated node: a computer, its disk and its clock, and the hostd process that comes and goes
//! on it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hostd::{AuditLog, Config, Doors, Formation, Ground, Node};
use hostd_machine::Machine;
use hostd_planted as planted;
use hostd_replica::{CheckpointPolicy, LOG_FILE, LogDisk, MARK_FILE, Pace, Work, WriterMode};

use crate::chance::Chance;
use crate::clock::WallClock;
use crate::disk::Disk;
use crate::fixtures::Fixtures;
use crate::host::Host;
use crate::net::{Net, node_address};
use crate::process::Process;
use crate::trace::{Counters, Trace};

/// Name of the state's database on a node's disk.
pub(crate) const STATE_FILE: &str = "state.redb";
/// Name of the log's database.
pub(crate) const LOG: &str = LOG_FILE;

/// A node of the simulated cluster.
#[derive(Debug)]
pub(crate) struct SimNode {
    /// Its number.
    pub(crate) id: u64,
    /// Its disk, which outlives its processes.
    pub(crate) disk: Disk,
    /// Its wall clock.
    pub(crate) clock: WallClock,
    /// How fast its clocks run, in parts per million of the right speed.
    pub(crate) speed_ppm: u64,
    /// How it comes to a cluster.
    pub(crate) formation: Formation,
    /// At its next checkpoint it writes one row wrongly; the number decides which.
    pub(crate) wrong_row: Option<u64>,
    /// Whether it is started with `--recover`.
    pub(crate) recover: bool,
    /// Whether the hostd that starts on it is the one before this one, which knows no newer rules.
    pub(crate) older: bool,
    /// When checkpoints are made.
    pub(crate) checkpoint: CheckpointPolicy,
    /// How much of the past it keeps for watchers.
    watch_bytes: usize,
    running: Option<Running>,
    /// Random decisions of this node's process.
    chance: Arc<Mutex<Chance>>,
    /// Time that its clocks are ahead of whole milliseconds, in nanoseconds.
    remainder_ns: u64,
}

#[derive(Debug)]
struct Running {
    // Declared first: what runs ends before what it runs on.
    host: Host,
    process: Process,
    report: Arc<Mutex<Report>>,
    paused: bool,
    /// Which hostd it is: see [`SimNode::older`].
    older: bool,
}

/// What a process said.
#[derive(Default)]
struct Report {
    node: Option<Node>,
    refused: Option<String>,
    fault: Option<String>,
    stopping: bool,
    stopped: bool,
}

impl std::fmt::Debug for Report {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Report").finish_non_exhaustive()
    }
}

/// How a process ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It was asked to stop.
    Stopped,
    /// It did not start; the reason.
    Refused(String),
    /// It met a fault; the reason.
    Fault(String),
    /// It died where it was told to.
    Died,
}

/// How a process is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    /// The process alone: what it wrote is all there.
    Process,
    /// The whole computer: what it wrote and did not sync is uncertain.
    Power,
}

impl SimNode {
    /// A node that is off, with an empty disk.
    pub(crate) fn new(
        id: u64,
        seed: u64,
        disk: Disk,
        clock: WallClock,
        formation: Formation,
        checkpoint: CheckpointPolicy,
    ) -> Self {
        Self {
            id,
            disk,
            clock,
            speed_ppm: 1_000_000,
            formation,
            wrong_row: None,
            recover: false,
            older: false,
            checkpoint,
            watch_bytes: watch_bytes(seed),
            running: None,
            chance: Arc::new(Mutex::new(Chance::new(seed, &format!("node {id}")))),
            remainder_ns: 0,
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        node_address(self.id)
    }

    /// Whether a process runs, paused or not.
    pub(crate) fn is_on(&self) -> bool {
        self.running.is_some()
    }

    /// Whether what runs on it, or would, is the old hostd.
    pub(crate) fn runs_older(&self) -> bool {
        let running = self.running.as_ref();
        running.map_or(self.older, |running| running.older)
    }

    /// Whether its process said that it is ready.
    pub(crate) fn is_ready(&self) -> bool {
        let running = self.running.as_ref();
        running.is_some_and(|running| lock(&running.report).node.is_some())
    }

    /// Starts a process. It must be off.
    pub(crate) fn start(&mut self, fixtures: &Fixtures, net: &Net) -> std::io::Result<()> {
        assert!(self.running.is_none(), "node {} runs already", self.id);
        let host = Host::new()?;
        let process = Process::new();
        let report = Arc::new(Mutex::new(Report::default()));
        let begin = Begin {
            id: self.id,
            address: self.address(),
            formation: self.formation.clone(),
            recover: self.recover,
            older: self.older,
            checkpoint: self.checkpoint,
            watch_bytes: self.watch_bytes,
            disk: self.disk.clone(),
            clock: self.clock.clone(),
            chance: Arc::clone(&self.chance),
            process: process.clone(),
            net: net.clone(),
            fixtures: fixtures.clone(),
        };
        let told = Arc::clone(&report);
        host.spawn(async move {
            match begin.node().await {
                Ok(node) => {
                    let fault = node.fault_of();
                    lock(&told).node = Some(node);
                    let reason = fault.await;
                    lock(&told).fault = Some(reason);
                }
                Err(reason) => lock(&told).refused = Some(reason),
            }
        });
        self.running = Some(Running {
            host,
            process,
            report,
            paused: false,
            older: self.older,
        });
        Ok(())
    }

    /// A millisecond passes here. Returns how the process ended, if it did.
    pub(crate) fn tick(&mut self) -> Option<Exit> {
        self.remainder_ns += self.speed_ppm;
        let ms = self.remainder_ns / 1_000_000;
        self.remainder_ns %= 1_000_000;
        if self.speed_ppm != 1_000_000 {
            let drift_ns = self.speed_ppm as i64 - 1_000_000;
            self.clock.drift_ns(drift_ns);
        }
        let time = Duration::from_millis(ms);
        let running = self.running.as_mut()?;
        if running.paused {
            running.host.stall(time);
            return None;
        }
        if !time.is_zero() {
            let process = running.process.clone();
            let unarmed = planted::arm(self.wrong_row);
            Trace::running(self.id, &process, || running.host.run(time));
            self.wrong_row = planted::arm(unarmed);
        }
        if running.process.is_dead() {
            return Some(Exit::Died);
        }
        let mut report = lock(&running.report);
        if let Some(reason) = report.refused.take() {
            return Some(Exit::Refused(reason));
        }
        if let Some(reason) = report.fault.take().filter(|_| !report.stopping) {
            return Some(Exit::Fault(reason));
        }
        report.stopped.then_some(Exit::Stopped)
    }

    /// Ends the process now, wherever it is. Nothing happens when it is off.
    pub(crate) fn kill(&mut self, net: &Net, death: Death) {
        let Some(running) = self.running.take() else {
            return;
        };
        running.process.kill();
        net.unbind(self.address());
        let process = running.process.clone();
        Trace::running(self.id, &process, || {
            // The node needs its runtime around it to be dropped.
            let node = lock(&running.report).node.take();
            running.host.enter(|| drop(node));
            drop(running);
        });
        match death {
            Death::Process => self.disk.survive(),
            Death::Power => self.disk.crash(),
        }
    }

    /// Lets the process die after so many more effects on disk and network.
    pub(crate) fn doom(&self, effects: u32) {
        if let Some(running) = &self.running {
            running.process.doom(effects);
        }
    }

    /// Stops or continues the process, as SIGSTOP and SIGCONT do.
    pub(crate) fn pause(&mut self, paused: bool) {
        if let Some(running) = &mut self.running {
            running.paused = paused;
        }
    }

    /// Asks the process for a checkpoint, if it is ready.
    pub(crate) fn checkpoint(&self, trace: &Trace, counters: &Counters) {
        let Some(running) = &self.running else { return };
        let Some(made) = lock(&running.report).node.as_ref().map(Node::checkpoint) else {
            return;
        };
        let (trace, counters) = (trace.clone(), counters.clone());
        running.host.spawn(async move {
            let made = made.await;
            if made.is_ok() {
                counters.add("checkpoints made on request", 1);
            }
            trace.say(&format!("the checkpoint asked for: {made:?}"));
        });
    }

    /// Asks the process to stop, as SIGTERM does.
    pub(crate) fn stop(&mut self) {
        let Some(running) = &self.running else { return };
        let Some(node) = lock(&running.report).node.take() else {
            return;
        };
        let report = Arc::clone(&running.report);
        lock(&report).stopping = true;
        running.host.spawn(async move {
            node.shutdown().await;
            lock(&report).stopped = true;
        });
    }
}

/// What a process begins with.
struct Begin {
    id: u64,
    address: SocketAddr,
    formation: Formation,
    recover: bool,
    older: bool,
    checkpoint: CheckpointPolicy,
    watch_bytes: usize,
    disk: Disk,
    clock: WallClock,
    chance: Arc<Mutex<Chance>>,
    process: Process,
    net: Net,
    fixtures: Fixtures,
}

impl Begin {
    async fn node(self) -> Result<Node, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let directory: PathBuf = self.fixtures.directory.join(format!("node-{}", self.id));
        std::fs::create_dir_all(directory.join("incoming")).map_err(|error| text(&error))?;
        let state = self
            .disk
            .open_database(STATE_FILE, &self.process)
            .map_err(|error| text(&error))?;
        let engine = if self.older {
            &self.fixtures.older
        } else {
            &self.fixtures.engine
        };
        let machine = Machine::open(Arc::clone(engine), state)
            .map_err(|error| format!("{STATE_FILE}: {error}"))?;
        let log = LogDisk {
            backend: Box::new(
                self.disk
                    .open_database(LOG_FILE, &self.process)
                    .map_err(|error| text(&error))?,
            ),
            mark: Some(Box::new(self.disk.open(MARK_FILE, &self.process))),
            name: LOG_FILE.into(),
        };
        let credentials = self.fixtures.nodes[&self.id].clone();
        let server = credentials.server_config().map_err(|error| text(&error))?;
        let endpoint = hostd_quic::bind_abstract(
            Arc::new(self.net.bind(self.address, self.process.clone())),
            Some(hostd_quic::server_config(server)),
        )
        .map_err(|error| text(&error))?;
        let (clock, chance) = (self.clock, self.chance);
        let ground = Ground {
            credentials: credentials.into(),
            doors: Doors {
                quic: endpoint,
                tcp: None,
            },
            machine,
            log,
            clock: Arc::new(move || clock.now_ns()),
            entropy: {
                let chance = Arc::clone(&chance);
                Arc::new(move |bytes: &mut [u8]| lock(&chance).fill(bytes))
            },
            room: {
                let disk = self.disk.clone();
                Arc::new(move || disk.room())
            },
            mode: WriterMode::Task(pace(self.disk.clone(), chance)),
            checkpoint: self.checkpoint,
            audit: AuditLog::without_file(),
            directory,
        };
        let config = Config {
            node_id: self.id,
            listen: self.address,
            formation: self.formation,
            recover: self.recover,
            watch_bytes: self.watch_bytes,
            ..Config::new(PathBuf::new())
        };
        Node::start_on(&config, self.fixtures.plugins.clone(), ground)
            .await
            .map_err(|error| text(&error))
    }
}

/// How much of the past nodes keep under this seed: so little that watchers who fall behind must begin
/// anew, or enough for a whole run.
fn watch_bytes(seed: u64) -> usize {
    let sizes = [8 << 10, 64 << 10, 1 << 20];
    let mut chance = Chance::new(seed, "watch history");
    chance.pick(&sizes).copied().unwrap_or(1 << 20)
}

/// How long a node's work takes.
fn pace(disk: Disk, chance: Arc<Mutex<Chance>>) -> Pace {
    Pace::new(move |work| {
        let mut chance = lock(&chance);
        let ms = match work {
            Work::LogCommit => disk.sync_ms(),
            // Now and then the machine lags behind the log.
            Work::Apply if chance.below(20) == 0 => chance.below(20),
            Work::Apply => 0,
            Work::Checkpoint => disk.sync_ms() + chance.below(50),
        };
        Duration::from_millis(ms)
    })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .expect("nothing panics while it holds the lock")
}
