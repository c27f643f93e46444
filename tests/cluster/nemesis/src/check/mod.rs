//! Judges what the clients recorded, with the checks that the simulator uses as well.
//!
//! All are about real time: a call that began after another had ended comes after it.

mod expiry;
mod keys;
mod tickets;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;

use anyhow::{Result, ensure};

use hostd_history::register::Input;
use hostd_history::{Operation, Outcome};

use crate::fault::Kind;
use crate::workload::{self, Call, Records, take};

/// Violations that are told in full; of further ones only the number.
const TOLD_MAX: usize = 5;

/// Checks every history. Returns what was checked, in words. Histories with violations go to files
/// in `directory`, all calls in order, the refused ones too.
pub(crate) fn check(records: &Records, kinds: &[Kind], directory: &Path) -> Result<String> {
    let mut judge = Judge {
        directory,
        calls: 0,
        histories: 0,
        violations: Vec::new(),
    };
    let tickets = take(&records.tickets);
    judge.hear("tickets", &tickets, tickets::check(&tickets));
    let key = |input: &Input| input.key.escape_ascii().to_string();
    for (key, calls) in by_key(take(&records.registers), key) {
        judge.hear(&key, &calls, keys::linearizable(&calls));
    }
    for (key, calls) in by_key(take(&records.counters), key) {
        let verdict = keys::counted_once(&calls).and_then(|()| keys::linearizable(&calls));
        judge.hear(&key, &calls, verdict);
    }
    for (key, calls) in by_key(take(&records.appends), key) {
        let verdict = keys::appended_once(&calls).and_then(|()| keys::linearizable(&calls));
        judge.hear(&key, &calls, verdict);
    }
    let clocks_are_right = !kinds.contains(&Kind::Clock);
    for (key, calls) in by_key(take(&records.expiry), |operation| operation.key.clone()) {
        judge.hear(&key, &calls, expiry::check(&calls, clocks_are_right));
    }
    judge.sentence()
}

/// Collects what is wrong.
struct Judge<'a> {
    directory: &'a Path,
    calls: usize,
    histories: usize,
    violations: Vec<String>,
}

impl Judge<'_> {
    fn hear<O: Debug, R: Debug>(&mut self, of: &str, calls: &[Call<O, R>], verdict: Result<()>) {
        self.calls += calls.len();
        self.histories += 1;
        if let Err(error) = verdict {
            self.violations.push(format!("{of}: {error:#}"));
            let mut calls: Vec<_> = calls.iter().collect();
            calls.sort_by_key(|call| call.began);
            let lines: Vec<String> = calls.iter().map(|call| format!("{call:?}\n")).collect();
            let file = format!("history-{}.txt", of.replace('/', "-"));
            // For a person who looks for the cause; the violation is told all the same.
            let _ = std::fs::write(self.directory.join(file), lines.concat());
        }
    }

    fn sentence(self) -> Result<String> {
        let Self {
            calls,
            histories,
            violations,
            ..
        } = self;
        let told = violations.iter().take(TOLD_MAX).cloned();
        let told: Vec<String> = told.collect();
        ensure!(
            violations.is_empty(),
            "{} of {histories} histories are not as promised:\n{}",
            violations.len(),
            told.join("\n")
        );
        Ok(format!(
            "{calls} calls in {histories} histories are as promised"
        ))
    }
}

fn by_key<O, R>(
    calls: Vec<Call<O, R>>,
    key: impl Fn(&O) -> String,
) -> BTreeMap<String, Vec<Call<O, R>>> {
    let mut keys: BTreeMap<String, Vec<Call<O, R>>> = BTreeMap::new();
    for call in calls {
        keys.entry(key(&call.operation)).or_default().push(call);
    }
    keys
}

/// The calls as a history: the order of events in place of times. Calls that were refused are not
/// part of it. Events at the same time count as overlapping.
fn history<O, R, I, A>(
    calls: &[Call<O, R>],
    input: impl Fn(&O) -> I,
    output: impl Fn(&R) -> A,
) -> Vec<Operation<I, A>> {
    // Begins before ends.
    let begins = calls
        .iter()
        .enumerate()
        .map(|(at, call)| (call.began, false, at));
    let ends = calls
        .iter()
        .enumerate()
        .map(|(at, call)| (call.ended, true, at));
    let mut events: Vec<_> = begins.chain(ends).collect();
    events.sort_unstable();
    let mut stamps = vec![(0, 0); calls.len()];
    for (stamp, (_, ends, at)) in events.into_iter().enumerate() {
        if ends {
            stamps[at].1 = stamp as u64;
        } else {
            stamps[at].0 = stamp as u64;
        }
    }
    let operation = |(call, (invoked, returned)): (&Call<O, R>, (u64, u64))| {
        let outcome = match &call.outcome {
            workload::Outcome::Ok(answer) => Some(Outcome {
                returned,
                output: output(answer),
            }),
            workload::Outcome::Unknown => None,
            workload::Outcome::Refused => return None,
        };
        Some(Operation {
            client: call.caller,
            id: invoked,
            invoked,
            input: input(&call.operation),
            outcome,
        })
    };
    calls.iter().zip(stamps).filter_map(operation).collect()
}

/// Calls for tests: (began, ended, operation, outcome), in milliseconds.
#[cfg(test)]
fn calls<O: Clone, R: Clone>(list: &[(u64, u64, O, workload::Outcome<R>)]) -> Vec<Call<O, R>> {
    let call = |(began, ended, operation, outcome): &(u64, u64, O, workload::Outcome<R>)| Call {
        caller: 0,
        began: std::time::Duration::from_millis(*began),
        ended: std::time::Duration::from_millis(*ended),
        operation: operation.clone(),
        outcome: outcome.clone(),
    };
    list.iter().map(call).collect()
}
