//! Counters that every acknowledged increment must have reached once: by the client's session,
//! or by an idempotency key with which a client asks again until it is answered.

use std::time::Duration;

use hostd_client::CallOptions;
use hostd_history::register::{Action, Input};

use super::{Caller, Outcome, add};

/// Counters in use at the same time, and for how long.
const COUNTERS: u64 = 2;
const GENERATION_SECONDS: u64 = 20;

/// How often to ask again with the same key. All of it takes far less than the ten minutes for
/// which the cluster remembers keys.
const REPEATS_MAX: u32 = 20;
const KEYED_TIMEOUT: Duration = Duration::from_millis(1_500);

pub(super) async fn step(caller: &mut Caller, number: u32) {
    let generation = caller.shared.meter.now().as_secs() / GENERATION_SECONDS;
    let key = format!("counter/{generation}/{}", caller.random.below(COUNTERS));
    let increments = !caller.random.once_in(5);
    let action = if increments {
        Action::Increment(1)
    } else {
        Action::Get
    };
    let input = Input::new(key, action);
    let mut options = CallOptions::default();
    let keyed = increments && number == 0;
    if keyed {
        options.key = Some(format!("{:016x}", caller.random.number()));
        options.timeout = Some(KEYED_TIMEOUT);
    }
    let mut call = caller.act(&input, &options).await;
    if keyed {
        // All attempts are one increment.
        for _ in 0..REPEATS_MAX {
            if matches!(call.outcome, Outcome::Ok(_)) {
                break;
            }
            let again = caller.act(&input, &options).await;
            let settled = matches!(again.outcome, Outcome::Ok(_));
            if settled || call.outcome == Outcome::Refused {
                call.outcome = again.outcome;
            }
            call.ended = again.ended;
        }
    }
    add(&caller.shared.records.counters, call);
}
