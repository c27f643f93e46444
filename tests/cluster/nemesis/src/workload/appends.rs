//! Lists that unique tokens are appended to: every acknowledged token is in every later read,
//! once, and reads never disagree about the order.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use anyhow::Result;
use hostd_client::{CallOptions, Reply};

use super::{Caller, add, bytes, integer, read_at_last};

/// Lists in use at the same time, and for how long: reading is not to take all of the time.
const LISTS: u64 = 2;
const GENERATION_SECONDS: u64 = 10;

/// Behind every token.
const END: u8 = b';';

/// What is done with a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Append {
    pub(crate) key: String,
    /// What is appended; nothing for a read.
    pub(crate) token: Option<String>,
}

/// How it was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Of an append: the list's new length, in bytes.
    Length(u64),
    /// Of a read.
    Tokens(Vec<String>),
}

pub(super) async fn step(caller: &mut Caller) {
    let generation = caller.shared.meter.now().as_secs() / GENERATION_SECONDS;
    let key = format!("list/{generation}/{}", caller.random.below(LISTS));
    let token = (!caller.random.once_in(5)).then(|| format!("{:016x}", caller.random.number()));
    let value = token
        .as_ref()
        .map(|token| format!("{token}{}", END as char));
    let words: Vec<&[u8]> = match &value {
        Some(value) => vec![b"append", key.as_bytes(), value.as_bytes()],
        None => vec![b"get", key.as_bytes()],
    };
    let read = |reply: &Reply| match &token {
        Some(_) => integer(reply).map(|length| Answer::Length(length as u64)),
        None => tokens(reply),
    };
    let operation = Append {
        key: key.clone(),
        token: token.clone(),
    };
    let call = caller
        .call(operation, &words, &CallOptions::default(), read)
        .await;
    add(&caller.shared.records.appends, call);
}

fn tokens(reply: &Reply) -> Option<Answer> {
    let text = String::from_utf8(bytes(reply)?.unwrap_or_default()).ok()?;
    let tokens = text.split_terminator(END as char).map(str::to_owned);
    Some(Answer::Tokens(tokens.collect()))
}

pub(super) async fn finish(caller: &mut Caller) -> Result<()> {
    let keys: BTreeSet<String> = {
        let calls = caller.shared.records.appends.lock();
        let calls = calls.unwrap_or_else(PoisonError::into_inner);
        calls
            .iter()
            .map(|call| call.operation.key.clone())
            .collect()
    };
    for key in keys {
        let operation = Append {
            key: key.clone(),
            token: None,
        };
        let words: [&[u8]; 2] = [b"get", key.as_bytes()];
        read_at_last(
            caller,
            |records| &records.appends,
            operation,
            &words,
            tokens,
        )
        .await?;
    }
    Ok(())
}
