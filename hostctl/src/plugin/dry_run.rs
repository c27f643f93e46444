//! `hostctl plugin upgrade --dry-run`: a version is tried on what its plugin was asked last.

use std::fmt::Write as _;
use std::path::Path;

use hostd_protocol::{Difference, DryRun, WriteDifference, Written};
use serde_json::{Value, json};

use super::{patient, refusal};
use crate::args::{Format, Global};
use crate::exit::Exit;
use crate::log::{bytes_words, call_words, outcome_json, outcome_words};
use crate::output;

pub(super) async fn run(
    global: &Global,
    file: &Path,
    component: Vec<u8>,
    last: u32,
) -> Result<(), Exit> {
    let component = hostd_machine::Plugin::component_bytes(&component).map_err(|error| {
        refusal(
            hostd_protocol::RejectionCode::InvalidArgument,
            format!("{}: {error}", file.display()),
        )
    })?;
    let client = patient(global).await?;
    let spinner =
        indicatif::ProgressBar::new_spinner().with_message("a node plays the last calls on both");
    spinner.enable_steady_tick(std::time::Duration::from_millis(100));
    let run = client.dry_run(component, last).await;
    spinner.finish_and_clear();
    client.close().await;
    let run = run?;
    match global.output {
        Format::Json => output::json(&object(&run))?,
        Format::Text => output::line(text(&run).trim_end())?,
    }
    if run.differing == 0 {
        return Ok(());
    }
    Err(Exit::Differs(format!(
        "{} of {} calls fare otherwise with {} {}",
        run.differing, run.calls, run.plugin, run.candidate
    )))
}

fn text(run: &DryRun) -> String {
    let DryRun {
        plugin,
        present,
        candidate,
        checkpoint,
        available,
        calls,
        takes_over,
        ..
    } = run;
    let mut text = format!("{plugin} {candidate} {takes_over} from {present}\n");
    let since = match checkpoint {
        0 => "the log began".to_owned(),
        index => format!("the checkpoint at entry {index}"),
    };
    if *calls == 0 {
        let _ = writeln!(
            text,
            "no call of {plugin} was logged since {since}: there is nothing to compare. Try again when there \
             was some traffic"
        );
        return text;
    }
    let _ = writeln!(
        text,
        "played the last {calls} of {available} calls since {since}"
    );
    if !run.same_layout {
        text.push_str("the layouts of their states differ, so only outcomes are compared\n");
    }
    for difference in &run.differences {
        write_difference(&mut text, difference);
    }
    let told = run.differences.len() as u64;
    if told < run.differing {
        let _ = writeln!(text, "and {} more", run.differing - told);
    }
    let _ = writeln!(
        text,
        "fuel: {} with {present}, {} with {candidate}{}",
        run.fuel_present,
        run.fuel_candidate,
        change(run.fuel_present, run.fuel_candidate)
    );
    if run.differing == 0 {
        let _ = writeln!(text, "no differences");
    }
    text
}

/// By how much it rises or falls.
fn change(present: u64, candidate: u64) -> String {
    if present == 0 || present == candidate {
        return String::new();
    }
    let change = (candidate as f64 / present as f64 - 1.0) * 100.0;
    format!(" ({change:+.1} %)")
}

fn write_difference(text: &mut String, difference: &Difference) {
    let line = &difference.line;
    let _ = writeln!(text, "\nentry {}  {}", line.index, call_words(&line.logged));
    let words = |outcome: &Option<_>| match outcome {
        Some(outcome) => outcome_words(outcome),
        None => "does not take place".to_owned(),
    };
    if line.outcome != difference.outcome {
        let _ = writeln!(text, "  - {}", words(&line.outcome));
        let _ = writeln!(text, "  + {}", words(&difference.outcome));
    }
    for write in &difference.writes {
        let _ = writeln!(text, "  {}", subject(write));
        let _ = writeln!(text, "  - {}", written(&write.present));
        let _ = writeln!(text, "  + {}", written(&write.candidate));
    }
}

fn subject(write: &WriteDifference) -> String {
    let what = if write.timer { "timer" } else { "key" };
    format!("{what} {}", bytes_words(&write.key))
}

fn written(written: &Written) -> String {
    match written {
        Written::Nothing => "left alone".into(),
        Written::Removed => "removed".into(),
        Written::Value { start, bytes } if start.len() as u64 == *bytes => bytes_words(start),
        Written::Value { start, bytes } => format!("{} ({bytes} bytes)", bytes_words(start)),
    }
}

fn object(run: &DryRun) -> Value {
    json!({
        "plugin": run.plugin,
        "present": run.present,
        "candidate": run.candidate,
        "takes_over": run.takes_over,
        "same_layout": run.same_layout,
        "checkpoint": run.checkpoint,
        "available": run.available,
        "calls": run.calls,
        "differing": run.differing,
        "fuel": { "present": run.fuel_present, "candidate": run.fuel_candidate },
        "differences": run.differences.iter().map(difference_json).collect::<Vec<_>>(),
    })
}

fn difference_json(difference: &Difference) -> Value {
    let line = &difference.line;
    json!({
        "index": line.index,
        "offset": line.offset,
        "call": call_words(&line.logged),
        "outcome": {
            "present": line.outcome.as_ref().map(outcome_json),
            "candidate": difference.outcome.as_ref().map(outcome_json),
        },
        "fuel": { "present": line.fuel, "candidate": difference.fuel },
        "writes": difference.writes.iter().map(|write| json!({
            "key": bytes_words(&write.key),
            "timer": write.timer,
            "present": written_json(&write.present),
            "candidate": written_json(&write.candidate),
        })).collect::<Vec<_>>(),
    })
}

fn written_json(written: &Written) -> Value {
    match written {
        Written::Nothing => json!({ "write": "none" }),
        Written::Removed => json!({ "write": "removed" }),
        Written::Value { start, bytes } => {
            json!({ "write": "value", "value": bytes_words(start), "bytes": bytes })
        }
    }
}
