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

use anyhow::{Context as _, Result};

use crate::fault::Kind;
use crate::workload::{Call, Records, take};

/// Checks every history. Returns what was checked, in words.
pub(crate) fn check(records: &Records, kinds: &[Kind]) -> Result<String> {
    let tickets = take(&records.tickets);
    let registers = take(&records.registers);
    let counters = take(&records.counters);
    let appends = take(&records.appends);
    let expiry = take(&records.expiry);
    let calls = tickets.len() + registers.len() + counters.len() + appends.len() + expiry.len();
    tickets::check(&tickets).context("tickets")?;
    let mut keys = 0;
    for (key, calls) in by_key(registers, |operation| &operation.key) {
        registers::check(&calls).with_context(|| key.clone())?;
        keys += 1;
    }
    for (key, calls) in by_key(counters, |operation| &operation.key) {
        counters::check(&calls).with_context(|| key.clone())?;
        keys += 1;
    }
    for (key, calls) in by_key(appends, |operation| &operation.key) {
        appends::check(&calls).with_context(|| key.clone())?;
        keys += 1;
    }
    let clocks_are_right = !kinds.contains(&Kind::Clock);
    for (key, calls) in by_key(expiry, |operation| &operation.key) {
        expiry::check(&calls, clocks_are_right).with_context(|| key.clone())?;
        keys += 1;
    }
    Ok(format!(
        "{calls} calls of {keys} keys and the tickets are as promised"
    ))
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
