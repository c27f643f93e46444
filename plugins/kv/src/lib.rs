//! Redis's strings, replicated: keys with values that may expire. Replies and error texts are
//! Redis's own, so that its clients work unchanged.
//!
//! Read on in this order: `store` says how keys lie in the state and changes them; `expiry`
//! what a deadline is, and removes what is past its own; then a file for each group of commands,
//! `strings`, `numbers`, `keys`, `deadlines` and `channels`.

#![forbid(unsafe_code)]

mod channels;
mod deadlines;
mod errors;
mod expiry;
mod glob;
mod keys;
mod numbers;
mod store;
mod strings;

use hostd_sdk::prelude::*;

struct Kv;

// The groups are asked in this order for a command: the ones that are called most come first.
#[plugin(
    errors = "redis",
    state_version = 2, // 1 knew no media types.
    reads = [1],
    groups = [strings::Strings, numbers::Numbers, keys::Keys, deadlines::Deadlines, channels::Channels],
    watched = [store::WATCHED]
)]
impl Kv {
    /// The one timer of this plugin is due: some keys are past their deadlines.
    #[wake]
    fn wake(ctx: &Context) {
        expiry::remove_due(ctx);
    }
}
