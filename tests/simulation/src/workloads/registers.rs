//! Registers: a few keys that several clients read and write, judged for linearizability.

use std::sync::{Arc, Mutex};

use hostd_client::Reply;
use hostd_history::register::{self, Input, Output};
use hostd_history::{Verdict, check};

use super::{Answer, Boxed, Shared, User, Workload, lock, record};
use crate::chance::Chance;
use crate::world::World;

pub(super) struct Registers {
    done: Shared<(String, Input), Output>,
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

    async fn operate(&self, user: &User, key: String, input: Input) {
        let number = lock(&self.done).invoke(user.number, (key.clone(), input.clone()));
        let answer = match &input {
            Input::Get => user.call("kv.get", &[&key], None).await,
            Input::Set(value) => user.call("kv.set", &[&key, &value.to_string()], None).await,
            Input::SetIfAbsent(value) => {
                user.call("kv.set", &[&key, &value.to_string(), "NX"], None)
                    .await
            }
            Input::CompareAndSet(expected, new) => {
                let (expected, new) = (expected.to_string(), new.to_string());
                user.call("kv.cas", &[&key, &expected, &new], None).await
            }
            Input::Delete => user.call("kv.del", &[&key], None).await,
        };
        let read = |reply: Reply| match (&input, reply) {
            (Input::Get, Reply::Nil) => Some(Output::Value(None)),
            (Input::Get, reply) => text(&reply)?.parse().ok().map(|v| Output::Value(Some(v))),
            (Input::Set(_), _) => Some(Output::Done),
            (Input::SetIfAbsent(_), Reply::Nil) => Some(Output::Changed(false)),
            (Input::SetIfAbsent(_), _) => Some(Output::Changed(true)),
            (_, Reply::Integer(changed)) => Some(Output::Changed(changed == 1)),
            _ => None,
        };
        if let Err(text) = record(&self.done, number, answer, read) {
            lock(&self.nonsense).get_or_insert(text);
        }
    }
}

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
            let value = user.number * 1_000_000 + user.done;
            let input = match user.chance.below(10) {
                0..=3 => Input::Get,
                4..=6 => Input::Set(value),
                7 => Input::SetIfAbsent(value),
                8 => Input::Delete,
                _ => {
                    let seen = match user.call("kv.get", &[&key], None).await {
                        Answer::Reply(reply) => text(&reply).and_then(|text| text.parse().ok()),
                        _ => None,
                    };
                    Input::CompareAndSet(seen.unwrap_or(1), value)
                }
            };
            self.operate(&user, key, input).await;
            user
        })
    }

    /// The last value of each key must be one that the history explains: nothing acknowledged is
    /// lost.
    fn finish(self: Arc<Self>, user: User) -> Boxed<()> {
        Box::pin(async move {
            for key in 0..self.keys {
                self.operate(&user, format!("register-{key}"), Input::Get)
                    .await;
            }
        })
    }

    fn judge(&self, world: &World) -> Result<(), String> {
        lock(&self.nonsense).clone().map_or(Ok(()), Err)?;
        match check(&register::Registers, &lock(&self.done).history()) {
            Verdict::Linearizable => Ok(()),
            Verdict::Violation(text) => Err(text),
            Verdict::Undecided(text) => {
                world.trace.say(&text);
                world.counters.add("histories undecided", 1);
                Ok(())
            }
        }
    }
}
