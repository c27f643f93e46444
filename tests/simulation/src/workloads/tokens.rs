//! A list of unique tokens: each that was acknowledged is in it once, in the order of real time.

use std::sync::{Arc, Mutex};

use hostd_history::exactly_once::log;

use super::{Boxed, Shared, User, Workload, history, lock, record};
use crate::world::World;

#[derive(Default)]
pub(super) struct Tokens {
    done: Shared<String, ()>,
    list: Mutex<Option<Vec<String>>>,
}

impl Workload for Tokens {
    fn name(&self) -> &'static str {
        "no write lost"
    }

    fn step(self: Arc<Self>, user: User) -> Boxed<User> {
        Box::pin(async move {
            let token = format!("{}-{}", user.number, user.done);
            let number = lock(&self.done).invoke(user.number, token.clone());
            let answer = user
                .call("append", &["tokens", &format!("{token},")], None)
                .await;
            // Any reply will do.
            drop(record(&self.done, number, answer, |_| Some(())));
            user
        })
    }

    fn finish(self: Arc<Self>, user: User) -> Boxed<()> {
        Box::pin(async move {
            let reply = user.insist("kv.get", &["tokens"]).await;
            let text = super::registers::text(&reply).unwrap_or_default();
            let list = text.split_terminator(',').map(str::to_owned).collect();
            *lock(&self.list) = Some(list);
        })
    }

    fn judge(&self, _world: &World) -> Result<(), String> {
        let list = lock(&self.list).clone().ok_or("the list was not read")?;
        log::check(&history(&self.done), &list).map_err(|violation| violation.to_string())
    }
}
