//! Finding a shorter schedule that breaks the same promise.

use std::process::{Command, Stdio};

use anyhow::Result;

use crate::Common;
use crate::run::Outcome;

/// Leaves out events for as long as the same check still fails, in halves, quarters and so on
/// (Zeller's delta debugging), and prints what remains.
pub(crate) fn shrink(failure: &Outcome, common: &Common) -> Result<()> {
    let mut events = failure.events.clone();
    let mut best = failure.clone();
    println!("shrinking seed {}: {} events", failure.seed, events.len());
    let mut size = events.len().div_ceil(2).max(1);
    while !events.is_empty() {
        let mut left_out_any = false;
        let mut start = 0;
        while start < events.len() {
            let end = (start + size).min(events.len());
            let without: Vec<usize> = [&events[..start], &events[end..]].concat();
            let outcome = again(failure.seed, &without, common)?;
            if outcome
                .as_ref()
                .is_some_and(|found| found.check == failure.check)
            {
                events = without;
                left_out_any = true;
                if let Some(outcome) = outcome {
                    best = outcome;
                }
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
    println!("{}", best.violation.unwrap_or_default());
    println!("replay: {}", replay(failure.seed, &events, common));
    Ok(())
}

/// What to type to see it again.
fn replay(seed: u64, events: &[usize], common: &Common) -> String {
    let numbers: Vec<String> = events.iter().map(ToString::to_string).collect();
    format!(
        "cargo xtask sim one --seed {seed} --events '{}' --loud{}",
        numbers.join(","),
        common.typed()
    )
}

fn again(seed: u64, events: &[usize], common: &Common) -> Result<Option<Outcome>> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["one", "--seed", &seed.to_string()]);
    let numbers: Vec<String> = events.iter().map(ToString::to_string).collect();
    // No number at all still means: none of them.
    let list = if numbers.is_empty() {
        usize::MAX.to_string()
    } else {
        numbers.join(",")
    };
    let output = command
        .args(["--events", &list])
        .args(common.flags())
        .stderr(Stdio::null())
        .output()?;
    Ok(serde_json::from_slice(&output.stdout).ok())
}
