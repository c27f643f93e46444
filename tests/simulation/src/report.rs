//! What people read.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use hostd_planted::Bug;

use crate::Common;
use crate::campaign::{Campaign, Summary};
use crate::plan;
use crate::run::Outcome;

/// `hostd-sim bugs`
#[derive(Args)]
pub(crate) struct BugArguments {
    /// Only these
    bugs: Vec<String>,
    /// A bug that no seed up to this one finds counts as not found
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    #[command(flatten)]
    common: Common,
}

/// What happened in all runs.
pub(crate) fn summary(summary: &Summary) {
    let simulated = Duration::from_millis(summary.simulated_ms);
    println!(
        "{} seeds, {:.1} simulated hours, {} failed",
        summary.runs,
        simulated.as_secs_f64() / 3600.0,
        summary.failures.len()
    );
    for (what, times) in &summary.counts {
        println!("  {what:<40} {times:>12}");
    }
}

/// A run that broke a promise.
pub(crate) fn failure(outcome: &Outcome, common: &Common) {
    println!("\n=== seed {} ===", outcome.seed);
    let shown = outcome.lines.len().saturating_sub(60);
    for line in &outcome.lines[shown..] {
        println!("{line}");
    }
    println!(
        "broken: {}",
        outcome.violation.as_deref().unwrap_or_default()
    );
    let flags = common.typed();
    println!(
        "replay: cargo xtask sim one --seed {}{flags} --loud",
        outcome.seed
    );
    println!(
        "shrink: cargo xtask sim --seed {}{flags} --shrink",
        outcome.seed
    );
}

/// Plants each bug and counts the seeds until it is found.
pub(crate) fn bugs(arguments: &BugArguments) -> Result<bool> {
    arguments.common.check()?;
    let mut all_found = true;
    println!("| bug | seeds until found | found by |\n|---|---|---|");
    for (bug, name) in Bug::ALL {
        if !arguments.bugs.is_empty() && !arguments.bugs.iter().any(|wanted| wanted == name) {
            continue;
        }
        let mut common = arguments.common.clone();
        common.plant = Some(bug.name().to_owned());
        let campaign = Campaign {
            first: 1,
            count: Some(arguments.seeds),
            time: None,
            jobs: std::thread::available_parallelism().map_or(1, usize::from),
            fail_fast: true,
            flags: common.flags(),
        };
        let summary = campaign.run()?;
        if let Some(failure) = summary.failures.first() {
            let check = failure.check.as_deref().unwrap_or_default();
            println!("| {name} | {} | {check} |", failure.seed);
        } else {
            all_found = false;
            println!("| {name} | **not within {}** | |", summary.runs);
        }
    }
    Ok(all_found)
}

/// What there is.
pub(crate) fn list() {
    println!("faults and operations:");
    for fault in plan::all() {
        println!("  {}", fault.name());
    }
    println!("bugs:");
    for (_, name) in Bug::ALL {
        println!("  {name}");
    }
}
