//! One Redis server that syncs every write, and redis-benchmark.
//!
//! Snapshots and rewrites of the append-only file are off, which spares Redis work that it does by
//! default in the background.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command as StdCommand;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use super::{KEYS, VALUE_BYTES, Work};
use crate::load::Measured;
use crate::options::Timing;
use crate::process::Process;
use crate::shape::Shape;
use crate::{ports, tool};

/// A running Redis server.
#[derive(Debug)]
pub(crate) struct Redis {
    server: Process,
    address: SocketAddr,
    benchmark: PathBuf,
    /// Requests per second of earlier runs: redis-benchmark is told a number, not a time.
    rates: Mutex<HashMap<(Work, Shape), f64>>,
    /// Redis's version.
    pub(crate) version: String,
}

/// What the comparison needs from this machine.
#[derive(Debug)]
pub(crate) struct Tools {
    server: PathBuf,
    benchmark: PathBuf,
}

impl Tools {
    /// Finds the server and redis-benchmark, or says what to install.
    pub(crate) fn find() -> Result<Self> {
        let missing = |what, package| {
            format!(
                "{what} is missing: `apt-get install --no-install-recommends {package}` installs it"
            )
        };
        Ok(Self {
            server: tool::find("redis-server", &["/usr/bin/redis-server"])
                .with_context(|| missing("redis-server", "redis-server"))?,
            benchmark: tool::find("redis-benchmark", &["/usr/bin/redis-benchmark"])
                .with_context(|| missing("redis-benchmark", "redis-tools"))?,
        })
    }
}

impl Redis {
    /// Starts the server in `dir`.
    pub(crate) async fn start(tools: &Tools, dir: &Path) -> Result<Self> {
        let address = ports::free(1)?[0];
        let mut command = StdCommand::new(&tools.server);
        command
            .args(["--bind", "127.0.0.1", "--port", &address.port().to_string()])
            .args(["--appendonly", "yes", "--appendfsync", "always"])
            .args(["--save", "", "--auto-aof-rewrite-percentage", "0"])
            .arg("--dir")
            .arg(dir);
        let mut server = Process::start("redis", &mut command, dir)?;
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while tokio::net::TcpStream::connect(address).await.is_err() {
            server.check_running()?;
            if tokio::time::Instant::now() > deadline {
                bail!("redis-server does not listen on {address}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let redis = Self {
            server,
            address,
            benchmark: tools.benchmark.clone(),
            rates: Mutex::default(),
            version: tool::version(&tools.server).await?,
        };
        // GET then finds nearly every key.
        redis
            .benchmark(Work::Set, Shape::new(50, 16), 5 * KEYS)
            .await
            .context("fill Redis")?;
        Ok(redis)
    }

    /// The server's process id.
    pub(crate) fn pids(&self) -> Vec<u32> {
        vec![self.server.pid()]
    }

    /// Puts the server under load for about as long as the timing says; a pilot of a few thousand
    /// requests is the warm-up.
    pub(crate) async fn run(&self, work: Work, shape: Shape, timing: Timing) -> Result<Measured> {
        let known = self.rates().get(&(work, shape)).copied();
        let pilot = match known {
            Some(rate) => rate * timing.warmup.as_secs_f64(),
            None => 4_000.0,
        };
        let pilot = self.benchmark(work, shape, at_least_one(pilot)).await?;
        let rate = known.unwrap_or_else(|| pilot.per_second());
        let count = at_least_one(rate * timing.duration.as_secs_f64());
        let mut measured = self.benchmark(work, shape, count).await?;
        self.rates().insert((work, shape), measured.per_second());
        measured.total += pilot.total;
        Ok(measured)
    }

    fn rates(&self) -> std::sync::MutexGuard<'_, HashMap<(Work, Shape), f64>> {
        self.rates
            .lock()
            .expect("nothing panics while it holds the lock")
    }

    async fn benchmark(&self, work: Work, shape: Shape, count: u64) -> Result<Measured> {
        let printed = tool::run(
            Command::new(&self.benchmark)
                .args(["-h", "127.0.0.1", "-p", &self.address.port().to_string()])
                .args(["-c", &shape.clients.to_string()])
                .args(["-P", &shape.in_flight.to_string()])
                .args(["-t", work.name(), "-d", &VALUE_BYTES.to_string()])
                .args(["-r", &KEYS.to_string(), "-n", &count.to_string(), "--csv"]),
        )
        .await?;
        parse(&printed, count).with_context(|| format!("redis-benchmark printed `{printed}`"))
    }
}

fn at_least_one(count: f64) -> u64 {
    (count as u64).max(1)
}

/// Reads the one result of a run with `--csv`: a line of names, then a line of values, quoted.
fn parse(printed: &str, count: u64) -> Option<Measured> {
    let mut lines = printed.lines().map(|line| {
        line.split(',')
            .map(|field| field.trim_matches('"'))
            .collect::<Vec<_>>()
    });
    let names = lines.find(|fields| fields.first() == Some(&"test"))?;
    let values = lines.next()?;
    let value = |name: &str| {
        let column = names.iter().position(|column| *column == name)?;
        values.get(column)?.parse::<f64>().ok()
    };
    Some(Measured {
        operations: count,
        seconds: count as f64 / value("rps")?,
        p50_us: value("p50_latency_ms")? * 1e3,
        p99_us: value("p99_latency_ms")? * 1e3,
        total: count,
        ..Measured::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_csv_of_redis_benchmark_7_is_understood() {
        let printed = "\"test\",\"rps\",\"avg_latency_ms\",\"min_latency_ms\",\"p50_latency_ms\",\
            \"p95_latency_ms\",\"p99_latency_ms\",\"max_latency_ms\"\n\
            \"SET\",\"12500.00\",\"3.9\",\"0.1\",\"3.5\",\"5.0\",\"8.25\",\"9.9\"\n";
        let measured = parse(printed, 25_000).unwrap();
        assert!((measured.per_second() - 12_500.0).abs() < 0.1);
        assert!((measured.p50_us - 3_500.0).abs() < 0.1);
        assert!((measured.p99_us - 8_250.0).abs() < 0.1);
        assert!(parse("WARNING: no config\n", 1).is_none());
    }
}
