//! Registers: a few keys that several clients read and write, judged for linearizability.

use std::sync::{Arc, Mutex};

use hostd_client::Reply;
use hostd_history::Register;
use hostd_history::linearize::{self, Failure};
use hostd_history::register::{Action, Input, Output};

use super::{Answer, Boxed, Shared, User, Workload, history, lock, record};
use crate::chance::Chance;
use crate::world::World;

pub(super) struct Registers {
    done: Shared<Input, Output>,
    nonsense: Mutex<Option<String>>,
    keys: u64,
}

impl Registers {
    pub(super) fn new(chance: &mut Chance) -> Self {
        Self {
            done: Shared::default(),
            nonsense: Mutex::default(),
            keys: chance.within(1..=4),
        }
    }

    async fn operate(&self, user: &User, key: String, action: Action) {
        let input = Input::new(key.clone(), action.clone());
        let number = lock(&self.done).invoke(user.number, input);
        let shown = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let answer = match &action {
            Action::Get => user.call("kv.get", &[&key], None).await,
            Action::Set(value) => user.call("kv.set", &[&key, &shown(value)], None).await,
            Action::SetIfAbsent(value) => {
                user.call("kv.set", &[&key, &shown(value), "NX"], None)
                    .await
            }
            Action::CompareAndSet { expected, new } => {
                user.call("kv.cas", &[&key, &shown(expected), &shown(new)], None)
                    .await
            }
            Action::Delete => user.call("kv.del", &[&key], None).await,
            Action::Increment(by) => user.call("kv.incrby", &[&key, &by.to_string()], None).await,
            Action::Append(bytes) => user.call("kv.append", &[&key, &shown(bytes)], None).await,
        };
        let read = |reply: Reply| match (&action, reply) {
            (Action::Get, Reply::Nil) => Some(Output::Nil),
            (Action::Get, reply) => text(&reply).map(|text| Output::Value(text.into_bytes())),
            (Action::Set(_), _) => Some(Output::Done),
            (Action::SetIfAbsent(_), Reply::Nil) => Some(Output::Integer(0)),
            (Action::SetIfAbsent(_), _) => Some(Output::Integer(1)),
            (_, Reply::Integer(number)) => Some(Output::Integer(number)),
            _ => None,
        };
        if let Err(text) = record(&self.done, number, answer, read) {
            lock(&self.nonsense).get_or_insert(text);
        }
    }
}

/// Steps that the search for an order may take: about a second's worth.
const STEPS_MAX: u64 = 5_000_000;

/// A reply's text.
pub(super) fn text(reply: &Reply) -> Option<String> {
    match reply {
        Reply::Text(text) => Some(text.clone()),
        Reply::Bytes(bytes) => String::from_utf8(bytes.clone()).ok(),
        Reply::Integer(number) => Some(number.to_string()),
        _ => None,
    }
}

impl Workload for Registers {
    fn name(&self) -> &'static str {
        "linearizability"
    }

    fn step(self: Arc<Self>, mut user: User) -> Boxed<User> {
        Box::pin(async move {
            let key = format!("register-{}", user.chance.below(self.keys));
            // Each value is written once, so that a read tells which write it saw.
            let value = format!("{}-{}", user.number, user.done).into_bytes();
            let action = match user.chance.below(10) {
                0..=3 => Action::Get,
                4..=6 => Action::Set(value),
                7 => Action::SetIfAbsent(value),
                8 => Action::Delete,
                _ => {
                    let seen = match user.call("kv.get", &[&key], None).await {
                        Answer::Reply(reply) => text(&reply).map(String::into_bytes),
                        _ => None,
                    };
                    Action::CompareAndSet {
                        expected: seen.unwrap_or_default(),
                        new: value,
                    }
                }
            };
            self.operate(&user, key, action).await;
            user
        })
    }

    /// The last value of each key must be one that the history explains: nothing acknowledged is
    /// lost.
    fn finish(self: Arc<Self>, user: User) -> Boxed<()> {
        Box::pin(async move {
            for key in 0..self.keys {
                self.operate(&user, format!("register-{key}"), Action::Get)
                    .await;
            }
        })
    }

    fn judge(&self, world: &World) -> Result<(), String> {
        lock(&self.nonsense).clone().map_or(Ok(()), Err)?;
        match linearize::check(&Register, &history(&self.done), STEPS_MAX) {
            Ok(()) => Ok(()),
            Err(Failure::Undecided(undecided)) => {
                world.trace.say(&undecided.to_string());
                world.counters.add("histories undecided", 1);
                Ok(())
            }
            Err(violation) => Err(violation.to_string()),
        }
    }
}
