//! Access rules: a guest does what a rule allows, as long as it is in force, and never anything else.
//!
//! Whether the guest may use a path is a register: operators write it when they add or take away a rule,
//! and each call of the guest reads it. The history must be linearizable. What no rule ever allows must
//! never succeed.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use hostd_client::Reply;
use hostd_history::Register;
use hostd_history::linearize::{self, Failure};
use hostd_history::register::{Action, Input, Output};

use super::{Answer, Boxed, Shared, User, Workload, history, lock};
use crate::world::{CLIENTS, World};

/// Who the guest is.
pub(crate) const GUEST: &str = "simulated-guest";

/// The numbers of the guest's clients.
pub(crate) const GUESTS: RangeInclusive<u64> = CLIENTS + 3..=CLIENTS + 4;

/// Paths that rules are about, each with the rule that comes and goes.
pub(crate) const PATHS: [(&str, &str); 3] = [
    ("/guest/0", "read /guest/0"),
    ("/guest/1", "write /guest/1"),
    ("/guest/2", "call kv.set /guest/2"),
];

/// Steps that the search for an order may take.
const STEPS_MAX: u64 = 5_000_000;

/// What operators and the guest did.
#[derive(Default)]
pub(crate) struct Record {
    /// There are rules, and the guest is named in one: the guest may begin.
    pub(crate) begun: AtomicBool,
    done: Shared<Input, Output>,
    wrong: Mutex<Option<String>>,
}

impl Record {
    /// Notes that a rule is about to come or go, and gives what tells what became of it.
    pub(crate) fn change(&self, operator: u64, path: &str, allowed: bool) -> impl FnOnce(Answer) {
        let action = Action::Set(vec![u8::from(allowed)]);
        let number = lock(&self.done).invoke(operator, Input::new(path, action));
        move |answer| match answer {
            Answer::Reply(_) => lock(&self.done).complete(number, Output::Done),
            // A rule that is not there any more is gone as well.
            Answer::Rejected(code) if code == "not_found" => {
                lock(&self.done).complete(number, Output::Done);
            }
            Answer::Rejected(_) | Answer::Refused => lock(&self.done).refuse(number),
            Answer::Unknown => {}
        }
    }
}

/// The guest.
pub(super) struct Access(Arc<Record>);

impl Access {
    pub(super) fn new(record: Arc<Record>) -> Self {
        Self(record)
    }

    async fn use_path(&self, user: &User, path: &str, reads: bool) {
        let number = lock(&self.0.done).invoke(user.number, Input::new(path, Action::Get));
        let answer = try_key(user, &format!("{path}/x"), reads).await;
        let mut done = lock(&self.0.done);
        match answer {
            Answer::Reply(_) => done.complete(number, Output::Value(vec![1])),
            Answer::Rejected(code) if code == "permission_denied" => {
                user.counters.add("calls denied", 1);
                done.complete(number, Output::Value(vec![0]));
            }
            Answer::Rejected(_) | Answer::Refused => done.refuse(number),
            Answer::Unknown => {}
        }
    }
}

async fn try_key(user: &User, key: &str, reads: bool) -> Answer {
    if reads {
        user.call("kv.get", &[key], None).await
    } else {
        user.call("kv.set", &[key, "x"], None).await
    }
}

impl Workload for Access {
    fn name(&self) -> &'static str {
        "access rules"
    }

    fn step(self: Arc<Self>, mut user: User) -> Boxed<User> {
        Box::pin(async move {
            if !self.0.begun.load(Ordering::Relaxed) {
                return user;
            }
            let chosen = user.chance.below(PATHS.len() as u64) as usize;
            let path = PATHS[chosen].0;
            if user.chance.percent(80) {
                self.use_path(&user, path, chosen == 0).await;
                return user;
            }
            // A neighbour of a path, and the wrong kind of call: no rule is about either.
            let (key, reads) = match user.chance.below(3) {
                0 => (format!("{path}x"), chosen == 0),
                1 => (format!("{path}x"), chosen != 0),
                _ => (PATHS[0].0.to_owned(), false),
            };
            if let Answer::Reply(reply) = try_key(&user, &key, reads).await {
                let what = if reads { "read" } else { "wrote" };
                let text = format!("the guest {what} {key}, which no rule allows: {reply:?}");
                lock(&self.0.wrong).get_or_insert(text);
            }
            user
        })
    }

    fn finish(self: Arc<Self>, _user: User) -> Boxed<()> {
        Box::pin(async {})
    }

    fn judge(&self, world: &World) -> Result<(), String> {
        lock(&self.0.wrong).clone().map_or(Ok(()), Err)?;
        let mut begun: Vec<_> = history(&self.0.done);
        // Before the first rule for it, nothing was allowed: as if that had been said at the beginning.
        begun.retain(|operation| operation.output().is_some() || is_change(&operation.input));
        match linearize::check(&Register, &begun, STEPS_MAX) {
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

fn is_change(input: &Input) -> bool {
    matches!(input.action, Action::Set(_))
}

/// The reply of a change, for [`Record::change`].
pub(crate) fn answer(result: &Result<Vec<String>, hostd_client::CallError>) -> Answer {
    match result {
        Ok(_) => Answer::Reply(Reply::Ok),
        Err(error) => Answer::of(error),
    }
}
