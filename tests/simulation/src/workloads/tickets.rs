//! Tickets: numbers that nobody gets twice and that only rise.

use std::sync::{Arc, Mutex};

use hostd_client::Reply;
use hostd_history::tickets;

use super::{Boxed, Shared, User, Workload, history, lock, record};
use crate::world::World;

#[derive(Default)]
pub(super) struct Tickets {
    taken: Shared<(), i64>,
    nonsense: Mutex<Option<String>>,
}

impl Workload for Tickets {
    fn name(&self) -> &'static str {
        "tickets"
    }

    fn step(self: Arc<Self>, user: User) -> Boxed<User> {
        Box::pin(async move {
            let number = lock(&self.taken).invoke(user.number, ());
            let answer = user.call("ticket", &[], None).await;
            let read = |reply| match reply {
                Reply::Integer(ticket) => Some(ticket),
                _ => None,
            };
            if let Err(text) = record(&self.taken, number, answer, read) {
                lock(&self.nonsense).get_or_insert(text);
            }
            user
        })
    }

    fn finish(self: Arc<Self>, _user: User) -> Boxed<()> {
        Box::pin(async {})
    }

    fn judge(&self, _world: &World) -> Result<(), String> {
        lock(&self.nonsense).clone().map_or(Ok(()), Err)?;
        tickets::check(&history(&self.taken)).map_err(|violation| violation.to_string())
    }
}
