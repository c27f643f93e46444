//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use serde::Serialize;

use crate::shape::Shape;

/// Measures hostd on this machine, next to the disk's own fsync, etcd and Redis.
///
/// Three hostd nodes on loopback with mutual TLS and fsync on, the client on the same cores. The
/// systems take turns in short rounds, so that a noisy machine disturbs them alike; figures are
/// medians over the rounds.
#[derive(Debug, Parser)]
#[command(name = "hostd-bench", version, max_term_width = 100)]
pub(crate) struct Options {
    /// What to measure [default: everything]
    pub(crate) scenarios: Vec<Scenario>,

    /// About a minute in all: one short round, fewer repetitions; its ratios are rough
    #[arg(long)]
    pub(crate) quick: bool,

    /// Only loads of this shape, such as 64x16; repeatable
    #[arg(long = "shape", value_name = "CLIENTSxIN_FLIGHT")]
    pub(crate) shapes: Vec<Shape>,

    /// Leave out a system; repeatable
    #[arg(long, value_name = "SYSTEM")]
    pub(crate) without: Vec<System>,

    /// Rounds over all loads [default: 5, quick: 1]
    #[arg(long, value_name = "N")]
    pub(crate) rounds: Option<usize>,

    /// Measured seconds of one load in one round [default: 3, quick: 1]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) seconds: Option<Duration>,

    /// Seconds before each measurement [default: 1, quick: 0.4]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) warmup: Option<Duration>,

    /// Where the servers keep their data while they run; must be on a real disk
    /// [default: target/bench]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,

    /// The hostd binary [default: target/release/hostd]
    #[arg(long, value_name = "FILE")]
    pub(crate) hostd: Option<PathBuf>,

    /// Directory of the built plugins [default: target/plugins]
    #[arg(long, value_name = "DIR")]
    pub(crate) plugins: Option<PathBuf>,

    /// Where to write the results as Markdown [default: bench/RESULTS.md after a full run, nowhere
    /// after a partial or quick one]
    #[arg(long, value_name = "FILE")]
    pub(crate) results: Option<PathBuf>,

    /// What to print
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub(crate) output: Output,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// TICKET: the smallest write
    Ticket,
    /// kv SET of 64 bytes over 10 000 keys; etcd PUT; Redis SET and INCR
    Set,
    /// Linearizable kv GET at the leader; etcd Range; Redis GET
    Get,
    /// kv SET and GET through a follower
    Follower,
    /// kv SET and GET with redis-benchmark, on one node, on three, and on Redis
    Resp,
    /// SIGKILL of the leader until the next acknowledged write
    Failover,
    /// CPU and log of an idle cluster
    Idle,
    /// Memory when empty and over a million commands
    Memory,
}

/// What runs under load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum System {
    /// Three hostd nodes
    Hostd,
    /// Three etcd nodes
    Etcd,
    /// One Redis server with appendfsync always
    Redis,
}

/// What standard output gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
pub(crate) enum Output {
    /// Tables.
    Text,
    /// One JSON document.
    Json,
}

impl Options {
    /// Whether this scenario was asked for.
    pub(crate) fn wants(&self, scenario: Scenario) -> bool {
        self.scenarios.is_empty() || self.scenarios.contains(&scenario)
    }

    /// Whether loads of this shape were asked for.
    pub(crate) fn wants_shape(&self, shape: Shape) -> bool {
        self.shapes.is_empty() || self.shapes.contains(&shape)
    }

    /// Whether this system is to be measured.
    pub(crate) fn includes(&self, system: System) -> bool {
        !self.without.contains(&system)
    }

    /// Whether everything is measured at full length, so that the results may be kept.
    pub(crate) fn is_full(&self) -> bool {
        self.scenarios.is_empty()
            && self.shapes.is_empty()
            && self.without.is_empty()
            && !self.quick
            && self.rounds.is_none_or(|rounds| rounds >= FULL_ROUNDS)
    }

    /// Rounds over all loads.
    pub(crate) fn rounds(&self) -> usize {
        self.rounds
            .unwrap_or(if self.quick { 1 } else { FULL_ROUNDS })
            .max(1)
    }

    /// Warm-up and measured time of one load in one round.
    pub(crate) fn timing(&self) -> Timing {
        let (warmup_ms, duration_ms) = if self.quick {
            (400, 1_000)
        } else {
            (1_000, 3_000)
        };
        Timing {
            warmup: self.warmup.unwrap_or(Duration::from_millis(warmup_ms)),
            duration: self.seconds.unwrap_or(Duration::from_millis(duration_ms)),
        }
    }
}

const FULL_ROUNDS: usize = 5;

/// How long one load runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// Not measured.
    pub(crate) warmup: Duration,
    /// Measured.
    pub(crate) duration: Duration,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let value: f64 = text
        .parse()
        .map_err(|_| "a number of seconds, such as 2.5".to_owned())?;
    Duration::try_from_secs_f64(value).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Options {
        Options::parse_from([&["hostd-bench"], arguments].concat())
    }

    #[test]
    fn only_a_run_of_everything_replaces_the_kept_results() {
        assert!(parse(&[]).is_full());
        assert!(parse(&["--rounds", "9"]).is_full());
        for partial in [
            &["--quick"][..],
            &["set"],
            &["--shape", "64x1"],
            &["--without", "etcd"],
            &["--rounds", "1"],
        ] {
            assert!(!parse(partial).is_full(), "{partial:?}");
        }
    }

    #[test]
    fn no_scenario_means_all() {
        assert!(parse(&[]).wants(Scenario::Idle));
        assert!(!parse(&["set", "get"]).wants(Scenario::Idle));
        assert!(parse(&["set", "get"]).wants(Scenario::Get));
    }
}
