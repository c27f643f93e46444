//! The rounds: every load on every system in turn, again and again, so that whatever disturbs the
//! machine disturbs all alike.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::case::{Case, Contender};
use crate::cpu::{self, Meter};
use crate::fsync;
use crate::load::{self, Measured};
use crate::options::{Options, Timing};
use crate::progress::say;
use crate::report::format::count;
use crate::sample::{Sample, Series};
use crate::shape::Shape;
use crate::system::etcd::Etcd;
use crate::system::hostd::{Caller, Hostd};
use crate::system::redis::Redis;
use crate::system::redis_benchmark::Benchmark;
use crate::system::{KEYS, Work};

/// Writes of one short look at the disk.
const FSYNC_WRITES: usize = 200;

/// Numbers of connections that clients share in trials; the best one for each system is used.
const CONNECTIONS_TRIED: [usize; 3] = [1, 8, 64];

/// What runs during the rounds. A system that is `None` is left out.
#[derive(Debug, Default)]
pub(crate) struct Systems {
    pub(crate) hostd: Option<Hostd>,
    /// One node alone.
    pub(crate) alone: Option<Hostd>,
    /// redis-benchmark for each of them.
    pub(crate) benchmarks: HashMap<Contender, Benchmark>,
    pub(crate) etcd: Option<Etcd>,
    pub(crate) redis: Option<Redis>,
    /// The best number of connections found for each load.
    pub(crate) connections: Connections,
}

/// How many connections suit each load best.
pub(crate) type Connections = Mutex<HashMap<(Work, Shape, Contender), usize>>;

/// Runs all rounds. `dir` is where the disk is looked at.
pub(crate) async fn run(
    systems: &Systems,
    cases: &[Case],
    options: &Options,
    dir: &Path,
) -> Result<Vec<Series>> {
    let mut all: Vec<Series> = cases
        .iter()
        .filter(|case| systems.has(case.contender))
        .map(|case| Series {
            case: *case,
            connections: None,
            rounds: Vec::new(),
        })
        .collect();
    let rounds = options.rounds();
    for round in 1..=rounds {
        for series in &mut all {
            let Case {
                work,
                shape,
                contender,
            } = series.case;
            if round == 1 && contender.shares_connections() {
                systems
                    .try_connections(series.case, options.timing())
                    .await?;
            }
            let name = format!("{} {shape} on {}", work.name(), contender.name());
            let sample = systems
                .sample(series.case, options.timing(), dir)
                .await
                .with_context(|| name.clone())?;
            say(&format!(
                "round {round} of {rounds}: {name}: {}/s",
                count(sample.per_second)
            ));
            series.rounds.push(sample);
            if contender.shares_connections() {
                series.connections = Some(systems.connections(series.case));
            }
        }
    }
    Ok(all)
}

impl Systems {
    fn has(&self, contender: Contender) -> bool {
        match contender {
            Contender::Hostd | Contender::HostdApart | Contender::HostdFollower => {
                self.hostd.is_some()
            }
            Contender::HostdResp | Contender::HostdRespAlone => {
                self.benchmarks.contains_key(&contender)
            }
            Contender::Etcd | Contender::EtcdApart => self.etcd.is_some(),
            Contender::Redis => self.redis.is_some(),
        }
    }

    fn pids(&self, contender: Contender) -> Vec<u32> {
        let pids = match contender {
            Contender::Hostd
            | Contender::HostdApart
            | Contender::HostdFollower
            | Contender::HostdResp => self.hostd.as_ref().map(Hostd::pids),
            Contender::HostdRespAlone => self.alone.as_ref().map(Hostd::pids),
            Contender::Etcd | Contender::EtcdApart => self.etcd.as_ref().map(Etcd::pids),
            Contender::Redis => self.redis.as_ref().map(Redis::pids),
        };
        pids.unwrap_or_default()
    }

    /// The processes of all systems, each of which may still be busy with an earlier load.
    fn all_pids(&self) -> Vec<u32> {
        [
            Contender::Hostd,
            Contender::HostdRespAlone,
            Contender::Etcd,
            Contender::Redis,
        ]
        .into_iter()
        .flat_map(|contender| self.pids(contender))
        .collect()
    }

    /// The number of connections for a load: the best one found, or one for each client.
    fn connections(&self, case: Case) -> usize {
        let found = self
            .connections
            .lock()
            .expect("nothing panics while it holds the lock");
        let key = (case.work, case.shape, case.contender);
        found.get(&key).copied().unwrap_or(case.shape.clients)
    }

    /// Finds the number of connections that suits a load best, by short trials.
    async fn try_connections(&self, case: Case, timing: Timing) -> Result<()> {
        let trial = Timing {
            warmup: timing.warmup.min(Duration::from_millis(300)),
            duration: timing.duration.min(Duration::from_secs(1)),
        };
        let mut best = (0.0, case.shape.clients);
        // A client does not split itself, so there are never more connections than clients.
        for connections in CONNECTIONS_TRIED
            .into_iter()
            .filter(|connections| *connections <= case.shape.clients)
        {
            let ready = self.ready(case, connections).await?;
            let measured = ready.run(case, trial).await?;
            if measured.per_second() > best.0 {
                best = (measured.per_second(), connections);
            }
        }
        self.connections
            .lock()
            .expect("nothing panics while it holds the lock")
            .insert((case.work, case.shape, case.contender), best.1);
        Ok(())
    }

    async fn sample(&self, case: Case, timing: Timing, dir: &Path) -> Result<Sample> {
        cpu::settle(&self.all_pids()).await?;
        let single = case.shape == Shape::SINGLE;
        let ready = self.ready(case, self.connections(case)).await?;
        let before = fsync_us(dir, single).await?;
        let meter = Meter::start(&self.pids(case.contender))?;
        let measured = ready.run(case, timing).await?;
        let used = meter.stop()?;
        let after = fsync_us(dir, single).await?;
        let per_request = |seconds: f64| seconds * 1e6 / measured.total.max(1) as f64;
        Ok(Sample {
            per_second: measured.per_second(),
            p50_us: measured.p50_us,
            p99_us: measured.p99_us,
            errors: measured.errors,
            servers_cpu_us: per_request(used.servers),
            client_cpu_us: per_request(used.own),
            foreign_share: used.foreign_share,
            fsync_us: before.zip(after).map(|(a, b)| f64::midpoint(a, b)),
            first_error: measured.first_error,
        })
    }

    /// Does what is not to be metered: connects hostd's clients.
    async fn ready(&self, case: Case, connections: usize) -> Result<Ready<'_>> {
        let Case {
            work,
            shape,
            contender,
        } = case;
        let gone = "the system does not run";
        Ok(match contender {
            Contender::Hostd | Contender::HostdApart | Contender::HostdFollower => {
                let hostd = self.hostd.as_ref().context(gone)?;
                let lanes = hostd.lanes(work, shape, connections, contender.via(), KEYS);
                Ready::Hostd(lanes.await?)
            }
            Contender::Etcd | Contender::EtcdApart => {
                Ready::Etcd(self.etcd.as_ref().context(gone)?, connections)
            }
            Contender::Redis => Ready::Redis(self.redis.as_ref().context(gone)?),
            Contender::HostdResp | Contender::HostdRespAlone => {
                Ready::Benchmark(self.benchmarks.get(&contender).context(gone)?)
            }
        })
    }
}

/// A load that is about to start.
enum Ready<'a> {
    Hostd(Vec<Caller>),
    /// With this many connections.
    Etcd(&'a Etcd, usize),
    Redis(&'a Redis),
    /// redis-benchmark on hostd.
    Benchmark(&'a Benchmark),
}

impl Ready<'_> {
    async fn run(self, case: Case, timing: Timing) -> Result<Measured> {
        match self {
            Ready::Hostd(lanes) => load::run(lanes, timing).await,
            Ready::Etcd(etcd, connections) => {
                etcd.run(case.work, case.shape, connections, timing).await
            }
            Ready::Redis(redis) => redis.run(case.work, case.shape, timing).await,
            Ready::Benchmark(benchmark) => benchmark.run(case.work, case.shape, timing).await,
        }
    }
}

/// The disk's own fsync now, where it is of interest.
async fn fsync_us(dir: &Path, wanted: bool) -> Result<Option<f64>> {
    if !wanted {
        return Ok(None);
    }
    let fsync = fsync::measure(dir, FSYNC_WRITES).await?;
    Ok(Some(fsync.presized.p50_us))
}
