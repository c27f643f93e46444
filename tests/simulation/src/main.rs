//! `hostd-sim`: a whole cluster in one thread, on simulated time, network and disk, decided by one
//! seed.
//!
//! Everything is the real code: hostd's nodes with openraft, QUIC with mutual TLS, redb, wasmtime
//! and the plugins, and the client library. What is simulated is what they stand on. The same seed
//! gives the same run, byte for byte.

#![deny(unsafe_code)]

mod campaign;
mod chance;
mod checks;
mod clock;
mod disk;
#[cfg(test)]
mod effects;
mod entropy;
mod faults;
mod fixtures;
mod host;
mod net;
mod node;
mod operations;
mod operator;
mod pki;
mod plan;
mod process;
mod report;
mod run;
mod shrink;
mod trace;
mod workloads;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, anyhow};
use clap::{Args, Parser, Subcommand};
use hostd_planted::Bug;

use crate::campaign::Campaign;
use crate::fixtures::Fixtures;
use crate::run::Options;

/// Simulates a whole cluster in one thread, on simulated time, network and disk
///
/// Examples:
///   hostd-sim run --iterations 300          seeds 1 to 300
///   hostd-sim run --seed 42                 one seed
///   hostd-sim run --minutes 120             as many as there is time for
///   hostd-sim one --seed 42 --loud          one seed, with everything that happens
///   hostd-sim run --seed 42 --shrink        the fewest events that break the same promise
///   hostd-sim bugs                          does each check find the bug planted for it?
#[derive(Parser)]
#[command(name = "hostd-sim", verbatim_doc_comment)]
struct Arguments {
    #[command(subcommand)]
    command: Mode,
}

#[derive(Subcommand)]
enum Mode {
    /// Runs seeds and reports what was broken
    Run(RunArguments),
    /// Runs one seed in this process and prints how it went, as JSON
    One(OneArguments),
    /// Plants each bug and counts the seeds until it is found
    Bugs(report::BugArguments),
    /// Lists faults, operations and planted bugs
    List,
}

#[derive(Args)]
struct RunArguments {
    /// The first seed [default: 1; with --seed alone, only that one]
    #[arg(long)]
    seed: Option<u64>,
    /// How many seeds
    #[arg(long)]
    iterations: Option<u64>,
    /// Begin new seeds for so long
    #[arg(long)]
    minutes: Option<u64>,
    /// Runs at the same time [default: one a core]
    #[arg(long)]
    jobs: Option<usize>,
    /// Find a shorter schedule for the first failure
    #[arg(long)]
    shrink: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
struct OneArguments {
    /// The seed
    #[arg(long)]
    seed: u64,
    /// Only these events of the seed's plan, by number, or `none`
    #[arg(long, value_parser = numbers)]
    events: Option<Numbers>,
    /// Print everything that happens
    #[arg(long)]
    loud: bool,
    #[command(flatten)]
    common: Common,
}

/// Numbers of events. A type of its own, so that the parser takes one value for all of them.
#[derive(Clone)]
struct Numbers(Vec<usize>);

fn numbers(text: &str) -> Result<Numbers, std::num::ParseIntError> {
    if text == "none" {
        return Ok(Numbers(Vec::new()));
    }
    let numbers: Result<_, _> = text.split(',').map(str::parse).collect();
    numbers.map(Numbers)
}

#[derive(Args, Clone)]
struct Common {
    /// Only these faults and operations; `hostd-sim list` names them
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Switch a bug on
    #[arg(long)]
    plant: Option<String>,
    /// Where the plugins are
    #[arg(long, default_value = "target/plugins")]
    plugins: PathBuf,
}

impl Common {
    fn check(&self) -> Result<()> {
        for name in &self.only {
            if plan::named(name).is_none() {
                return Err(anyhow!(
                    "no fault or operation is named {name:?}; see: hostd-sim list"
                ));
            }
        }
        if let Some(name) = &self.plant
            && Bug::named(name).is_none()
        {
            return Err(anyhow!("no bug is named {name:?}; see: hostd-sim list"));
        }
        Ok(())
    }

    /// As somebody would type them again.
    fn typed(&self) -> String {
        let only = match self.only.as_slice() {
            [] => String::new(),
            only => format!(" --only {}", only.join(",")),
        };
        let plant = self.plant.as_ref();
        only + &plant.map_or_else(String::new, |bug| format!(" --plant {bug}"))
    }

    /// As flags for another process.
    fn flags(&self) -> Vec<String> {
        let mut flags = vec!["--plugins".to_owned(), self.plugins.display().to_string()];
        if !self.only.is_empty() {
            flags.extend(["--only".to_owned(), self.only.join(",")]);
        }
        if let Some(bug) = &self.plant {
            flags.extend(["--plant".to_owned(), bug.clone()]);
        }
        flags
    }
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Mode::Run(arguments) => run_many(&arguments),
        Mode::One(arguments) => run_one(arguments),
        Mode::Bugs(arguments) => report::bugs(&arguments),
        Mode::List => {
            report::list();
            Ok(true)
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run_many(arguments: &RunArguments) -> Result<bool> {
    arguments.common.check()?;
    let alone = arguments.seed.is_some() && arguments.minutes.is_none();
    let count = arguments.iterations.or(match arguments.minutes {
        Some(_) => None,
        None if alone => Some(1),
        None => Some(100),
    });
    let campaign = Campaign {
        first: arguments.seed.unwrap_or(1),
        count,
        time: arguments.minutes.map(Duration::from_mins),
        jobs: arguments
            .jobs
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)),
        fail_fast: arguments.shrink,
        flags: arguments.common.flags(),
    };
    let summary = campaign.run()?;
    report::summary(&summary);
    for failure in &summary.failures {
        report::failure(failure, &arguments.common);
    }
    if arguments.shrink
        && let Some(failure) = summary.failures.first()
    {
        shrink::shrink(failure, &arguments.common)?;
    }
    Ok(summary.failures.is_empty())
}

fn run_one(arguments: OneArguments) -> Result<bool> {
    arguments.common.check()?;
    if let Some(bug) = arguments.common.plant.as_deref().and_then(Bug::named) {
        plant(bug)?;
    }
    let directory = tempfile::tempdir()?;
    let fixtures = Fixtures::prepare(&arguments.common.plugins, directory.path())?;
    let options = Options {
        seed: arguments.seed,
        only: arguments.common.only,
        events: arguments.events.map(|numbers| numbers.0),
        loud: arguments.loud,
    };
    let outcome = run::run(options, fixtures);
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(outcome.violation.is_none())
}

#[cfg(feature = "planted")]
#[allow(
    clippy::unnecessary_wraps,
    reason = "the other build of it can only fail"
)]
fn plant(bug: Bug) -> Result<()> {
    hostd_planted::plant(bug);
    Ok(())
}

#[cfg(not(feature = "planted"))]
fn plant(_: Bug) -> Result<()> {
    Err(anyhow!(
        "built without the feature `planted`; use: cargo xtask sim"
    ))
}
