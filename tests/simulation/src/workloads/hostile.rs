//! A plugin that traps, loops, allocates and recurses, beside all others. What it does must end as
//! a rejection that leaves nothing behind.

use std::sync::{Arc, Mutex};

use hostd_client::Reply;

use super::{Answer, Boxed, User, Workload, lock};
use crate::world::World;

#[derive(Default)]
pub(super) struct Hostile {
    broken: Mutex<Option<String>>,
}

/// Commands that must be rejected, with the code they must be rejected with.
const BAD: &[(&str, &[&str], &str)] = &[
    ("hostile.recurse-forever", &[], "trapped"),
    ("hostile.spin-forever", &[], "fuel_exhausted"),
    ("hostile.allocate-forever", &[], "memory_exceeded"),
    ("hostile.panic", &[], "trapped"),
    ("hostile.unreachable", &[], "trapped"),
    ("hostile.write-out-of-bounds", &[], "trapped"),
    ("hostile.read-panic", &[], "trapped"),
    ("hostile.reject", &[], "rejected"),
];

/// The first of [`BAD`] that cost much.
const COSTLY: usize = 3;

/// Commands that differ on two nodes if anything of theirs leaks into the state.
const FINE: &[(&str, &[&str])] = &[
    ("hostile.draw", &[]),
    ("hostile.nan", &[]),
    ("hostile.count", &[]),
    ("hostile.hoard", &["100000"]),
    ("hostile.address", &[]),
    ("hostile.fill", &["20"]),
    ("hostile.empty", &[]),
    ("hostile.hash-order", &[]),
    ("hostile.timer", &["fork-2", "50"]),
    ("hostile.timer", &["draw-1", "100"]),
    ("hostile.timer", &["panic", "70"]),
    ("hostile.timer", &["count", "300"]),
    ("hostile.cancel", &["count"]),
];

/// Keys that are written by commands which then fail.
const NEVER: &[&str] = &["panicked", "overwritten"];

impl Workload for Hostile {
    fn name(&self) -> &'static str {
        "hostile plugin"
    }

    fn step(self: Arc<Self>, mut user: User) -> Boxed<User> {
        Box::pin(async move {
            if user.chance.percent(60) {
                if let Some((command, arguments)) = user.chance.pick(FINE).copied()
                    && let Answer::Rejected(code) = user.call(command, arguments, None).await
                    && code == "unknown_command"
                {
                    lock(&self.broken).get_or_insert(format!("{command}: {code}"));
                }
                return user;
            }
            // Taking all memory and all fuel takes the simulator's time as well.
            let bad = if user.chance.percent(5) {
                BAD
            } else {
                &BAD[COSTLY..]
            };
            let Some((command, arguments, expected)) = user.chance.pick(bad).copied() else {
                return user;
            };
            match user.call(command, arguments, None).await {
                Answer::Rejected(code) if code == expected => {}
                Answer::Refused | Answer::Unknown => {}
                Answer::Rejected(code) => {
                    lock(&self.broken).get_or_insert(format!("{command} was rejected as {code}"));
                }
                Answer::Reply(reply) => {
                    lock(&self.broken).get_or_insert(format!("{command} gave {reply:?}"));
                }
            }
            // What it wrote before it trapped must not be there.
            for key in NEVER {
                if let Answer::Reply(reply) = user.call("hostile.get", &[key], None).await
                    && reply != Reply::Nil
                {
                    lock(&self.broken)
                        .get_or_insert(format!("a command that trapped left {key} behind"));
                }
            }
            user
        })
    }

    fn finish(self: Arc<Self>, _user: User) -> Boxed<()> {
        Box::pin(async {})
    }

    fn judge(&self, _world: &World) -> Result<(), String> {
        lock(&self.broken).clone().map_or(Ok(()), Err)
    }
}
