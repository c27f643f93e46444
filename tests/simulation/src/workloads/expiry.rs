//! Keys with a deadline: by replicated time, a key is there before it and gone after it.
//!
//! One client owns its keys, so what it sees follows from what it did. Replicated time is asked of
//! the cluster itself, before and after.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hostd_client::Reply;

use super::{Answer, Boxed, User, Workload, lock};
use crate::world::World;

#[derive(Default)]
pub(super) struct Expiry {
    broken: Mutex<Option<String>>,
}

/// Nanoseconds in a millisecond.
const MS: i64 = 1_000_000;

/// The replicated time of a command that is logged now.
async fn now(user: &User) -> Option<i64> {
    match user.call("hostile.time", &[], None).await {
        Answer::Reply(Reply::Integer(time)) => Some(time),
        _ => None,
    }
}

impl Expiry {
    async fn one(&self, user: &mut User) -> Option<()> {
        let key = format!("expiring-{}-{}", user.number, user.done);
        let life_ms = user.chance.within(20..=1_500) as i64;
        let before_set = now(user).await?;
        match user
            .call("set", &[&key, "here", "PX", &life_ms.to_string()], None)
            .await
        {
            Answer::Reply(_) => {}
            _ => return None,
        }
        let after_set = now(user).await?;
        for _ in 0..user.chance.within(1..=4) {
            let pause = user.chance.below(life_ms as u64);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            let before_get = now(user).await?;
            let Answer::Reply(seen) = user.call("kv.get", &[&key], None).await else {
                return None;
            };
            let after_get = now(user).await?;
            let text = match seen {
                // Milliseconds are how exact a deadline is.
                Reply::Nil if after_get < before_set + (life_ms - 1) * MS => "was gone too early",
                Reply::Nil => return Some(()),
                _ if before_get > after_set + (life_ms + 1) * MS => "was still there",
                _ => continue,
            };
            lock(&self.broken).get_or_insert(format!(
                "{key} {text}: set between {before_set} and {after_set} for {life_ms} ms, read \
                 between {before_get} and {after_get}"
            ));
        }
        Some(())
    }
}

impl Workload for Expiry {
    fn name(&self) -> &'static str {
        "expiry"
    }

    fn step(self: Arc<Self>, mut user: User) -> Boxed<User> {
        Box::pin(async move {
            // What could not be seen to the end is not judged.
            let _ = self.one(&mut user).await;
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
