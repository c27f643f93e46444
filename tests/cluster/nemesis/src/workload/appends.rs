//! Lists that unique tokens are appended to: every acknowledged token is in every later read,
//! once, and reads never disagree about the order.

use hostd_client::CallOptions;
use hostd_history::register::{Action, Input};

use super::{Caller, add};

/// Lists in use at the same time, and for how long: reading is not to take all of the time.
const LISTS: u64 = 2;
const GENERATION_SECONDS: u64 = 10;

/// Behind every token.
const END: u8 = b';';

pub(super) async fn step(caller: &mut Caller) {
    let generation = caller.shared.meter.now().as_secs() / GENERATION_SECONDS;
    let key = format!("list/{generation}/{}", caller.random.below(LISTS));
    let action = if caller.random.once_in(5) {
        Action::Get
    } else {
        let mut token = format!("{:016x}", caller.random.number()).into_bytes();
        token.push(END);
        Action::Append(token)
    };
    let input = Input::new(key, action);
    let call = caller.act(&input, &CallOptions::default()).await;
    add(&caller.shared.records.appends, call);
}

/// The tokens of a list, as they were appended.
pub(crate) fn tokens(list: &[u8]) -> Vec<Vec<u8>> {
    list.split_inclusive(|byte| *byte == END)
        .map(<[u8]>::to_vec)
        .collect()
}
