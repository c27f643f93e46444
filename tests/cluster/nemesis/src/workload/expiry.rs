//! Keys that are set once, with a deadline, and looked at until they are gone: once gone, they
//! stay so, and at the end all of them are.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::{Result, bail};
use hostd_client::{CallOptions, Reply};

use super::{Call, Caller, Outcome, add, bytes, read_at_last};

/// What is done with a key. Every key is set once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expiry {
    pub(crate) key: String,
    /// Time to live of the one write; `None` for a read.
    pub(crate) set_for: Option<Duration>,
}

/// How it was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Set.
    Done,
    /// Whether the key is there.
    Present(bool),
}

/// Reads per key.
const LOOKS: u64 = 6;

pub(super) async fn step(caller: &mut Caller, number: u32) {
    let count = caller.shared.meter.now().as_nanos();
    let key = format!("expiry/{number}/{count}");
    let live = Duration::from_millis(50 + caller.random.below(3_000));
    let milliseconds = live.as_millis().to_string();
    let words: [&[u8]; 5] = [b"set", key.as_bytes(), b"v", b"PX", milliseconds.as_bytes()];
    let operation = Expiry {
        key: key.clone(),
        set_for: Some(live),
    };
    let read = |reply: &Reply| (*reply == Reply::Ok).then_some(Answer::Done);
    let call = caller
        .call(operation, &words, &CallOptions::default(), read)
        .await;
    add(&caller.shared.records.expiry, call);
    for _ in 0..LOOKS {
        let pause = caller.random.below(live.as_millis() as u64 / LOOKS * 2);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let call = look(caller, &key).await;
        add(&caller.shared.records.expiry, call);
        if caller.shared.stopping() {
            return;
        }
    }
}

async fn look(caller: &mut Caller, key: &str) -> Call<Expiry, Answer> {
    let operation = Expiry {
        key: key.to_owned(),
        set_for: None,
    };
    caller
        .call(
            operation,
            &[b"get", key.as_bytes()],
            &CallOptions::default(),
            present,
        )
        .await
}

fn present(reply: &Reply) -> Option<Answer> {
    match bytes(reply)? {
        None => Some(Answer::Present(false)),
        Some(value) if value == b"v" => Some(Answer::Present(true)),
        Some(_) => None,
    }
}

/// How long after its deadline a key may still be there. The caller has put the nodes' clocks
/// ahead of the cluster's time, which would else stand still until they catch up with it.
const GRACE: Duration = Duration::from_secs(30);

/// Waits until all are gone.
pub(super) async fn finish(caller: &mut Caller) -> Result<()> {
    let keys: BTreeMap<String, Duration> = {
        let calls = caller.shared.records.expiry.lock();
        let calls = calls.unwrap_or_else(PoisonError::into_inner);
        let set = calls.iter().filter_map(|call| {
            let live = call.operation.set_for?;
            Some((call.operation.key.clone(), call.ended + live))
        });
        set.collect()
    };
    for (key, due) in keys {
        loop {
            let operation = Expiry {
                key: key.clone(),
                set_for: None,
            };
            let words: [&[u8]; 2] = [b"get", key.as_bytes()];
            read_at_last(
                caller,
                |records| &records.expiry,
                operation,
                &words,
                present,
            )
            .await?;
            let gone = {
                let calls = caller.shared.records.expiry.lock();
                let calls = calls.unwrap_or_else(PoisonError::into_inner);
                calls.last().map(|call| call.outcome.clone())
                    == Some(Outcome::Ok(Answer::Present(false)))
            };
            if gone {
                break;
            }
            if caller.shared.meter.now() > due + GRACE {
                bail!(
                    "{key} is still there {} s after its deadline",
                    GRACE.as_secs()
                );
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    Ok(())
}
