//! SIGKILL of the leader under load: how long nobody's write is acknowledged.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hostd_client::Client;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::load::Lane;
use crate::median::median;
use crate::shape::Shape;
use crate::system::Work;
use crate::system::hostd::{Binaries, Caller, Hostd, NODES, Via};

/// Clients that write all the time.
const LOAD: Shape = Shape::new(16, 1);

/// A new write is begun this often whatever became of the ones before, so that the end of the
/// outage is seen when it comes.
const PROBE_EVERY: Duration = Duration::from_millis(5);

/// An outage that is longer is a failure.
const GIVE_UP_AFTER: Duration = Duration::from_secs(30);

/// What was seen.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Failover {
    /// From the kill to the first acknowledgement of a write begun after it, for each repetition.
    pub(crate) seconds: Vec<f64>,
    /// From the kill until every client of the load has had a write acknowledged.
    pub(crate) everybody_seconds: Vec<f64>,
}

impl Failover {
    /// The longest outage.
    pub(crate) fn max(&self) -> f64 {
        self.seconds.iter().copied().fold(0.0, f64::max)
    }

    /// The middle one.
    pub(crate) fn median(&self) -> f64 {
        median(self.seconds.iter().copied())
    }
}

/// Starts a cluster in `dir`, and kills its leader this many times.
pub(crate) async fn run(binaries: &Binaries, dir: &Path, repetitions: usize) -> Result<Failover> {
    let mut cluster = Hostd::start(binaries, dir, NODES).await?;
    cluster.fill().await?;
    let mut failover = Failover {
        seconds: Vec::new(),
        everybody_seconds: Vec::new(),
    };
    for _ in 0..repetitions {
        let leader = cluster.leader().await?;
        let mut load = Load::start(&cluster).await?;
        sleep(Duration::from_secs(1)).await;
        let killed = Instant::now();
        cluster.kill(leader)?;
        let probed = tokio::spawn(probe(load.probe.clone()));
        let everybody = load.everybody(killed).await?;
        let probed = probed.await?.context("probe after the kill")?;
        drop(load);
        failover
            .seconds
            .push(probed.duration_since(killed).as_secs_f64());
        failover.everybody_seconds.push(everybody.as_secs_f64());
        cluster.restart(leader).await?;
    }
    Ok(failover)
}

/// Clients that write all the time until dropped, and tell when each write was acknowledged.
struct Load {
    tasks: JoinSet<()>,
    acknowledged: mpsc::UnboundedReceiver<(usize, Instant, Instant)>,
    probe: Client,
}

impl Load {
    async fn start(cluster: &Hostd) -> Result<Self> {
        let (sender, acknowledged) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        let lanes = cluster
            .lanes(Work::Set, LOAD, LOAD.clients, Via::Leader, 1_000)
            .await?;
        for (number, lane) in lanes.into_iter().enumerate() {
            tasks.spawn(write_on(number, lane, sender.clone()));
        }
        let probe = cluster.client().await?;
        probe.prepare().await?;
        Ok(Self {
            tasks,
            acknowledged,
            probe,
        })
    }

    /// Time from `killed` until each client has had a write acknowledged that it had not begun, or
    /// whose answer it had not got, by then.
    async fn everybody(&mut self, killed: Instant) -> Result<Duration> {
        let mut missing = [true; LOAD.clients];
        while missing.contains(&true) {
            let next = timeout(GIVE_UP_AFTER, self.acknowledged.recv()).await;
            let Ok(Some((client, begun, ended))) = next else {
                let count = missing.iter().filter(|missing| **missing).count();
                bail!("{count} clients had no write acknowledged for {GIVE_UP_AFTER:?}");
            };
            // An answer may still have been on its way, so only writes begun after count, or
            // those that took longer than any answer is on its way.
            let late = ended > killed + Duration::from_millis(100);
            if begun >= killed || late {
                missing[client] = false;
            }
        }
        Ok(killed.elapsed())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.tasks.abort_all();
    }
}

async fn write_on(
    number: usize,
    mut lane: Caller,
    acknowledged: mpsc::UnboundedSender<(usize, Instant, Instant)>,
) {
    loop {
        let begun = Instant::now();
        if lane.once().await.is_ok() && acknowledged.send((number, begun, Instant::now())).is_err()
        {
            return;
        }
    }
}

/// Begins writes until one of them is acknowledged, and returns when that was.
async fn probe(client: Client) -> Result<Instant> {
    let mut writes = JoinSet::new();
    let mut ticks = interval(PROBE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let deadline = Instant::now() + GIVE_UP_AFTER;
    while Instant::now() < deadline {
        tokio::select! {
            _ = ticks.tick() => {
                let client = client.clone();
                writes.spawn(async move {
                    client.call("ticket", [""; 0]).await?;
                    anyhow::Ok(Instant::now())
                });
            }
            Some(written) = writes.join_next() => {
                // A refusal is part of the outage.
                if let Ok(Ok(when)) = written {
                    return Ok(when);
                }
            }
        }
    }
    bail!("no write was acknowledged within {GIVE_UP_AFTER:?}")
}
