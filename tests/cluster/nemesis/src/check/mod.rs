//! Judges what the clients recorded, with the checks that the simulator uses as well.
//!
//! All are about real time: a call that began after another had ended comes after it.

mod expiry;
mod keys;
mod tickets;

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use hostd_history::register::Input;
use hostd_history::{Operation, Outcome};

use crate::fault::Kind;
use crate::workload::{self, Call, Records, take};

/// Violations that are told in full; of further ones only the number.
const TOLD_MAX: usize = 5;

/// Checks every history. Returns what was checked, in words.
pub(crate) fn check(records: &Records, kinds: &[Kind]) -> Result<String> {
    let mut judge = Judge::default();
    let tickets = take(&records.tickets);
    judge.hear("tickets", tickets.len(), tickets::check(&tickets));
    let key = |input: &Input| input.key.escape_ascii().to_string();
    for (key, calls) in by_key(take(&records.registers), key) {
        judge.hear(&key, calls.len(), keys::linearizable(&calls));
    }
    for (key, calls) in by_key(take(&records.counters), key) {
        judge.hear(&key, calls.len(), keys::linearizable(&calls));
        judge.hear(&key, 0, keys::counted_once(&calls));
    }
    for (key, calls) in by_key(take(&records.appends), key) {
        judge.hear(&key, calls.len(), keys::linearizable(&calls));
        judge.hear(&key, 0, keys::appended_once(&calls));
    }
    let clocks_are_right = !kinds.contains(&Kind::Clock);
    for (key, calls) in by_key(take(&records.expiry), |operation| operation.key.clone()) {
        judge.hear(&key, calls.len(), expiry::check(&calls, clocks_are_right));
    }
    judge.sentence()
}

/// Collects what is wrong.
#[derive(Default)]
struct Judge {
    calls: usize,
    histories: usize,
    violations: Vec<String>,
}

impl Judge {
    fn hear(&mut self, of: &str, calls: usize, verdict: Result<()>) {
        self.calls += calls;
        self.histories += 1;
        if let Err(error) = verdict {
            self.violations.push(format!("{of}: {error:#}"));
        }
    }

    fn sentence(self) -> Result<String> {
        let Self {
            calls,
            histories,
            violations,
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
