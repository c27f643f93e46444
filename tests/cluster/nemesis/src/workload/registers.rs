//! Keys that several clients set, read, compare and delete at the same time. After a while they
//! turn to other keys, so that every key's history stays short.

use hostd_client::CallOptions;
use hostd_history::register::{Action, Input};

use super::{Caller, add};

/// Keys in use at the same time.
const KEYS: u64 = 3;
/// How long the same keys are in use.
const GENERATION_SECONDS: u64 = 4;
/// Different values: few, so that comparing often succeeds.
const VALUES: u64 = 5;

pub(super) async fn step(caller: &mut Caller) {
    let generation = caller.shared.meter.now().as_secs() / GENERATION_SECONDS;
    let key = format!("register/{generation}/{}", caller.random.below(KEYS));
    let mut value = || caller.random.below(VALUES).to_string().into_bytes();
    let (one, other) = (value(), value());
    let action = match caller.random.below(20) {
        0..=7 => Action::Get,
        8..=12 => Action::Set(one),
        13 => Action::SetIfAbsent(one),
        14..=17 => Action::CompareAndSet {
            expected: one,
            new: other,
        },
        _ => Action::Delete,
    };
    let input = Input::new(key, action);
    let call = caller.act(&input, &CallOptions::default()).await;
    add(&caller.shared.records.registers, call);
}
