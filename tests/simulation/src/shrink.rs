//! Finding a shorter schedule that breaks the same promise.

use anyhow::{Result, bail};

use crate::plan::{Event, Plan};
use crate::run::Outcome;
use crate::{Common, campaign};

/// Leaves out events for as long as the same check still fails, in halves, quarters and so on
/// (Zeller's delta debugging), and prints what remains.
pub(crate) fn shrink(failure: &Outcome, common: &Common) -> Result<()> {
    let all = Plan::of(failure.seed, &common.only).events;
    println!("shrinking seed {}: {} events", failure.seed, all.len());
    let mut events = all;
    // A run is the same each time, unless the simulator is at fault.
    let Some(mut best) = again(failure, &events, common)? else {
        bail!("seed {} does not fail twice alike", failure.seed);
    };
    let mut size = events.len().div_ceil(2).max(1);
    while !events.is_empty() {
        let mut left_out_any = false;
        let mut start = 0;
        while start < events.len() {
            let end = (start + size).min(events.len());
            let without = [&events[..start], &events[end..]].concat();
            if let Some(outcome) = again(failure, &without, common)? {
                events = without;
                left_out_any = true;
                best = outcome;
                println!("  {} events still break it", events.len());
            } else {
                start = end;
            }
        }
        if size == 1 && !left_out_any {
            break;
        }
        size = (size / 2).max(1);
    }
    for line in &best.lines {
        println!("{line}");
    }
    println!("broken: {}", best.violation.unwrap_or_default());
    if events.is_empty() {
        println!("it needs no event at all");
    } else {
        println!("it needs, after the cluster has formed:");
    }
    for event in &events {
        println!(
            "  event {}: {} at {} ms for {} ms",
            event.number, event.what, event.at_ms, event.for_ms
        );
    }
    println!(
        "replay: cargo xtask sim one --seed {} --events {}{} --loud",
        failure.seed,
        numbers(&events),
        common.typed()
    );
    Ok(())
}

/// As `--events` takes them.
fn numbers(events: &[Event]) -> String {
    if events.is_empty() {
        return "none".into();
    }
    let numbers: Vec<String> = events
        .iter()
        .map(|event| event.number.to_string())
        .collect();
    numbers.join(",")
}

/// Runs the seed with these events only. Returns how it went if the same check fails again.
fn again(failure: &Outcome, events: &[Event], common: &Common) -> Result<Option<Outcome>> {
    let mut flags = common.flags();
    flags.extend(["--events".to_owned(), numbers(events)]);
    let outcome = campaign::run_one(failure.seed, &flags)?;
    Ok(Some(outcome).filter(|outcome| outcome.check == failure.check))
}
