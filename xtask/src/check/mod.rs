//! `cargo xtask test`: everything that CI runs, in order, each step with a heading, its command
//! and its time.

mod boundaries;
mod steps;

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use steps::{STEPS, Step};

/// `cargo xtask test`
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only these steps, in this order: fmt, boundaries, deny, plugins, build, unit, cluster,
    /// conformance, nemesis, sim, demo, clippy, doc
    steps: Vec<String>,
    /// Stop at the first step that fails
    #[arg(long)]
    fail_fast: bool,
}

/// How a step ended.
pub(crate) enum Outcome {
    /// Everything it checks is right.
    Passed,
    /// It cannot run here; why.
    Skipped(String),
}

/// Runs the steps and says how each went.
pub(crate) fn run(options: &Options) -> Result<()> {
    let steps = chosen(&options.steps)?;
    let mut report = Vec::new();
    let start = Instant::now();
    for (number, &step) in steps.iter().enumerate() {
        println!(
            "\n=== [{}/{}] {}: {}",
            number + 1,
            steps.len(),
            step.name,
            step.what
        );
        let begin = Instant::now();
        let outcome = (step.run)();
        if let Err(error) = &outcome {
            println!("error: {error:#}");
        }
        println!(
            "=== {} {} after {}",
            step.name,
            word(&outcome),
            minutes(begin.elapsed())
        );
        let failed = outcome.is_err();
        report.push((step, outcome, begin.elapsed()));
        if failed && options.fail_fast {
            break;
        }
    }
    summarise(&report, start.elapsed())
}

fn chosen(names: &[String]) -> Result<Vec<&'static Step>> {
    if names.is_empty() {
        return Ok(STEPS.iter().collect());
    }
    let find = |name: &String| {
        STEPS.iter().find(|step| step.name == name).ok_or_else(|| {
            let known: Vec<_> = STEPS.iter().map(|step| step.name).collect();
            anyhow!("there is no step `{name}`; there are: {}", known.join(", "))
        })
    };
    names.iter().map(find).collect()
}

fn summarise(report: &[(&Step, Result<Outcome>, Duration)], total: Duration) -> Result<()> {
    println!("\n=== summary");
    for (step, outcome, time) in report {
        let detail = match outcome {
            Ok(Outcome::Passed) => String::new(),
            Ok(Outcome::Skipped(why)) => format!("  ({why})"),
            Err(error) => format!("  {error}  (again: cargo xtask test {})", step.name),
        };
        println!(
            "{:>8}  {:<10} {:>9}{detail}",
            word(outcome),
            step.name,
            minutes(*time)
        );
    }
    let failed = report
        .iter()
        .filter(|(_, outcome, _)| outcome.is_err())
        .count();
    let skipped = report
        .iter()
        .filter(|(_, outcome, _)| matches!(outcome, Ok(Outcome::Skipped(_))))
        .count();
    let passed = report.len() - failed - skipped;
    let skipped = if skipped == 0 {
        String::new()
    } else {
        format!("{skipped} skipped, ")
    };
    println!("all steps took {}", minutes(total));
    println!("{skipped}{passed} passed, {failed} failed");
    if failed > 0 {
        bail!("{failed} of {} steps failed", report.len());
    }
    Ok(())
}

fn word(outcome: &Result<Outcome>) -> &'static str {
    match outcome {
        Ok(Outcome::Passed) => "passed",
        Ok(Outcome::Skipped(_)) => "skipped",
        Err(_) => "FAILED",
    }
}

fn minutes(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 60 {
        format!("{:.1} s", time.as_secs_f64())
    } else {
        format!("{} m {} s", seconds / 60, seconds % 60)
    }
}
