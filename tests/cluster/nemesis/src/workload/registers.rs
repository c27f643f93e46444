//! Keys that several clients set, read, compare and delete at the same time. After a while they
//! turn to other keys, so that every key's history stays short.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use anyhow::Result;
use hostd_client::{CallOptions, Reply};

use super::{Caller, add, bytes, integer, read_at_last};

/// Keys in use at the same time.
const KEYS: u64 = 3;
/// How long the same keys are in use.
const GENERATION_SECONDS: u64 = 4;
/// Different values: few, so that comparing often succeeds.
const VALUES: u64 = 5;

/// What is done with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Register {
    pub(crate) key: String,
    pub(crate) verb: Verb,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Set(Vec<u8>),
    Cas(Vec<u8>, Vec<u8>),
    Del,
}

/// How it was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Value(Option<Vec<u8>>),
    Done,
    /// CAS: whether it was set. DEL: whether there was something.
    Whether(bool),
}

pub(super) async fn step(caller: &mut Caller) {
    let generation = caller.shared.meter.now().as_secs() / GENERATION_SECONDS;
    let key = format!("register/{generation}/{}", caller.random.below(KEYS));
    let value = |caller: &mut Caller| format!("{}", caller.random.below(VALUES)).into_bytes();
    let verb = match caller.random.below(20) {
        0..=8 => Verb::Get,
        9..=13 => Verb::Set(value(caller)),
        14..=17 => Verb::Cas(value(caller), value(caller)),
        _ => Verb::Del,
    };
    let words: Vec<&[u8]> = match &verb {
        Verb::Get => vec![b"get", key.as_bytes()],
        Verb::Set(value) => vec![b"set", key.as_bytes(), value],
        Verb::Cas(old, new) => vec![b"cas", key.as_bytes(), old, new],
        Verb::Del => vec![b"del", key.as_bytes()],
    };
    let operation = Register {
        key: key.clone(),
        verb: verb.clone(),
    };
    let read = |reply: &Reply| match &verb {
        Verb::Get => bytes(reply).map(Answer::Value),
        Verb::Set(_) => (*reply == Reply::Ok).then_some(Answer::Done),
        Verb::Cas(..) | Verb::Del => match integer(reply)? {
            0 => Some(Answer::Whether(false)),
            1 => Some(Answer::Whether(true)),
            _ => None,
        },
    };
    let call = caller
        .call(operation, &words, &CallOptions::default(), read)
        .await;
    add(&caller.shared.records.registers, call);
}

pub(super) async fn finish(caller: &mut Caller) -> Result<()> {
    let keys: BTreeSet<String> = {
        let calls = caller.shared.records.registers.lock();
        let calls = calls.unwrap_or_else(PoisonError::into_inner);
        calls
            .iter()
            .map(|call| call.operation.key.clone())
            .collect()
    };
    for key in keys {
        let operation = Register {
            key: key.clone(),
            verb: Verb::Get,
        };
        let read = |reply: &Reply| bytes(reply).map(Answer::Value);
        let words: [&[u8]; 2] = [b"get", key.as_bytes()];
        read_at_last(
            caller,
            |records| &records.registers,
            operation,
            &words,
            read,
        )
        .await?;
    }
    Ok(())
}
