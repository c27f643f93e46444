//! redis-benchmark against whoever speaks the Redis protocol at an address.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Mutex;

use anyhow::{Context, Result};
use tokio::process::Command;

use super::{KEYS, VALUE_BYTES, Work};
use crate::load::Measured;
use crate::options::Timing;
use crate::shape::Shape;
use crate::tool;

/// The load generator, for one server.
#[derive(Debug)]
pub(crate) struct Benchmark {
    program: PathBuf,
    address: SocketAddr,
    /// Requests per second of earlier runs: redis-benchmark is told a number, not a time.
    rates: Mutex<HashMap<(Work, Shape), f64>>,
}

impl Benchmark {
    /// Finds it, or says what to install.
    pub(crate) fn find(address: SocketAddr) -> Result<Self> {
        let program = tool::find("redis-benchmark", &["/usr/bin/redis-benchmark"]).context(
            "redis-benchmark is missing: `apt-get install --no-install-recommends redis-tools` \
             installs it",
        )?;
        Ok(Self {
            program,
            address,
            rates: Mutex::default(),
        })
    }

    /// Puts the server under load for about as long as the timing says; a pilot of a few thousand
    /// requests is the warm-up.
    pub(crate) async fn run(&self, work: Work, shape: Shape, timing: Timing) -> Result<Measured> {
        let known = self.rates().get(&(work, shape)).copied();
        let pilot = match known {
            Some(rate) => rate * timing.warmup.as_secs_f64(),
            None => 4_000.0,
        };
        let pilot = self.run_many(work, shape, at_least_one(pilot)).await?;
        let rate = known.unwrap_or_else(|| pilot.per_second());
        let count = at_least_one(rate * timing.duration.as_secs_f64());
        let mut measured = self.run_many(work, shape, count).await?;
        self.rates().insert((work, shape), measured.per_second());
        measured.total += pilot.total;
        Ok(measured)
    }

    fn rates(&self) -> std::sync::MutexGuard<'_, HashMap<(Work, Shape), f64>> {
        self.rates
            .lock()
            .expect("nothing panics while it holds the lock")
    }

    /// Sends so many requests.
    pub(crate) async fn run_many(&self, work: Work, shape: Shape, count: u64) -> Result<Measured> {
        let printed = tool::run(
            Command::new(&self.program)
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
