//! Judges what the clients recorded: one file per promise.
//!
//! All are about real time: a call that began after another had ended comes after it.

mod appends;
mod counters;
mod expiry;
mod linearizable;
mod registers;
mod tickets;

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use crate::fault::Kind;
use crate::workload::{Call, Records, take};

/// Violations that are told in full; of further ones only the number.
const TOLD_MAX: usize = 5;

/// Checks every history. Returns what was checked, in words.
pub(crate) fn check(records: &Records, kinds: &[Kind]) -> Result<String> {
    let mut judge = Judge::default();
    let tickets = take(&records.tickets);
    judge.hear("tickets", tickets.len(), tickets::check(&tickets));
    for (key, calls) in by_key(take(&records.registers), |operation| &operation.key) {
        judge.hear(&key, calls.len(), registers::check(&calls));
    }
    for (key, calls) in by_key(take(&records.counters), |operation| &operation.key) {
        judge.hear(&key, calls.len(), counters::check(&calls));
    }
    for (key, calls) in by_key(take(&records.appends), |operation| &operation.key) {
        judge.hear(&key, calls.len(), appends::check(&calls));
    }
    let clocks_are_right = !kinds.contains(&Kind::Clock);
    for (key, calls) in by_key(take(&records.expiry), |operation| &operation.key) {
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
    key: impl Fn(&O) -> &String,
) -> BTreeMap<String, Vec<Call<O, R>>> {
    let mut keys: BTreeMap<String, Vec<Call<O, R>>> = BTreeMap::new();
    for call in calls {
        keys.entry(key(&call.operation).clone())
            .or_default()
            .push(call);
    }
    keys
}

/// Calls for tests: (began, ended, operation, outcome), in milliseconds.
#[cfg(test)]
fn calls<O: Clone, R: Clone>(
    list: &[(u64, u64, O, crate::workload::Outcome<R>)],
) -> Vec<Call<O, R>> {
    let call =
        |(began, ended, operation, outcome): &(u64, u64, O, crate::workload::Outcome<R>)| Call {
            process: 0,
            began: std::time::Duration::from_millis(*began),
            ended: std::time::Duration::from_millis(*ended),
            operation: operation.clone(),
            outcome: outcome.clone(),
        };
    list.iter().map(call).collect()
}
