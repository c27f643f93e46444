//! Counters that every acknowledged increment must have reached once: by the client's session,
//! or by an idempotency key with which a client asks again until it is answered.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::Result;
use hostd_client::CallOptions;

use super::{Caller, Outcome, add, integer, read_at_last};

/// Counters in use at the same time, and for how long.
const COUNTERS: u64 = 2;
const GENERATION_SECONDS: u64 = 60;

/// How often to ask again with the same key. All of it takes far less than the ten minutes for
/// which the cluster remembers keys.
const REPEATS_MAX: u32 = 20;
const KEYED_TIMEOUT: Duration = Duration::from_millis(1_500);

/// What is done with a counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Counter {
    pub(crate) key: String,
    /// Else it is read.
    pub(crate) increments: bool,
}

pub(super) async fn step(caller: &mut Caller, number: u32) {
    let generation = caller.shared.meter.now().as_secs() / GENERATION_SECONDS;
    let key = format!("counter/{generation}/{}", caller.random.below(COUNTERS));
    let increments = !caller.random.once_in(5);
    let keyed = increments && number == 0;
    let command: &[u8] = if increments { b"incr" } else { b"get" };
    let words = [command, key.as_bytes()];
    let operation = Counter {
        key: key.clone(),
        increments,
    };
    let mut options = CallOptions::default();
    if keyed {
        options.key = Some(format!("{:016x}", caller.random.number()));
        options.timeout = Some(KEYED_TIMEOUT);
    }
    // A counter that nobody has incremented yet is not there.
    let read = |reply: &_| match super::bytes(reply) {
        Some(None) if !increments => Some(0),
        _ => integer(reply),
    };
    let mut call = caller.call(operation.clone(), &words, &options, read).await;
    if keyed {
        // All attempts are one increment.
        for _ in 0..REPEATS_MAX {
            if matches!(call.outcome, Outcome::Ok(_)) {
                break;
            }
            let again = caller.call(operation.clone(), &words, &options, read).await;
            let settled = matches!(again.outcome, Outcome::Ok(_));
            if settled || call.outcome == Outcome::Refused {
                call.outcome = again.outcome;
            }
            call.ended = again.ended;
        }
    }
    add(&caller.shared.records.counters, call);
}

pub(super) async fn finish(caller: &mut Caller) -> Result<()> {
    let keys: BTreeSet<String> = {
        let calls = caller.shared.records.counters.lock();
        let calls = calls.unwrap_or_else(PoisonError::into_inner);
        calls
            .iter()
            .map(|call| call.operation.key.clone())
            .collect()
    };
    for key in keys {
        let operation = Counter {
            key: key.clone(),
            increments: false,
        };
        let words: [&[u8]; 2] = [b"get", key.as_bytes()];
        let read = |reply: &_| match super::bytes(reply) {
            Some(None) => Some(0),
            _ => integer(reply),
        };
        read_at_last(caller, |records| &records.counters, operation, &words, read).await?;
    }
    Ok(())
}
