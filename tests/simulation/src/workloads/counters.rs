//! Counters, with retries: an increment that is sent again under the same idempotency key, by the
//! caller or behind its back, has one effect and one answer.

use std::sync::{Arc, Mutex};

use hostd_client::Reply;
use hostd_history::{exactly_once::counter, tickets};

use super::{Answer, Boxed, Shared, User, Workload, history, lock, record};
use crate::world::World;

#[derive(Default)]
pub(super) struct Counters {
    done: Shared<i64, i64>,
    last: Mutex<Option<i64>>,
    nonsense: Mutex<Option<String>>,
}

fn integer(reply: Reply) -> Option<i64> {
    match reply {
        Reply::Integer(value) => Some(value),
        _ => None,
    }
}

impl Workload for Counters {
    fn name(&self) -> &'static str {
        "exactly once"
    }

    fn step(self: Arc<Self>, mut user: User) -> Boxed<User> {
        Box::pin(async move {
            let number = lock(&self.done).invoke(user.number, 1);
            let key = user
                .chance
                .percent(50)
                .then(|| format!("increment-{}-{}", user.number, user.done));
            let mut answer = user.call("kv.incr", &["counter"], key.clone()).await;
            if key.is_some() {
                // A caller that has not heard, or has forgotten, asks again.
                for _ in 0..user.chance.below(3) {
                    let again = user.call("kv.incr", &["counter"], key.clone()).await;
                    match (&answer, again) {
                        (Answer::Reply(first), Answer::Reply(second)) if *first != second => {
                            lock(&self.nonsense).get_or_insert(format!(
                                "one increment gave {first:?}, and {second:?} when it was sent again"
                            ));
                        }
                        // Only an answer to the first says that the first did not happen.
                        (Answer::Unknown, again @ Answer::Reply(_)) => answer = again,
                        (Answer::Reply(_) | Answer::Unknown, _) => {}
                        (_, again) => answer = again,
                    }
                }
            }
            if let Err(text) = record(&self.done, number, answer, integer) {
                lock(&self.nonsense).get_or_insert(text);
            }
            user
        })
    }

    fn finish(self: Arc<Self>, user: User) -> Boxed<()> {
        Box::pin(async move {
            let reply = user.insist("kv.get", &["counter"]).await;
            let value = super::registers::text(&reply).and_then(|text| text.parse().ok());
            *lock(&self.last) = Some(value.unwrap_or(0));
        })
    }

    fn judge(&self, _world: &World) -> Result<(), String> {
        lock(&self.nonsense).clone().map_or(Ok(()), Err)?;
        let last = lock(&self.last).ok_or("the counter was not read")?;
        let increments = history(&self.done);
        counter::check(0, &increments, last).map_err(|violation| violation.to_string())?;
        // Increments by one and nothing else give out tickets as well.
        tickets::check(&increments).map_err(|violation| violation.to_string())
    }
}
