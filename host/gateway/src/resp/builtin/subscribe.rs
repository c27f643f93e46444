//! SUBSCRIBE, PSUBSCRIBE, UNSUBSCRIBE, PUNSUBSCRIBE.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::try_join_all;
use hostd_protocol::{CallError, Failure, FailureCode};

use super::{Asking, Step};
use crate::gateway::Shared;
use crate::resp::channel::Subscription;
use crate::resp::encode::Value;
use crate::resp::failure::{Asked, line, no_authentication};
use crate::resp::merge::Told;
use crate::resp::subscriptions::{Begun, SUBSCRIPTIONS_MAX};
use crate::{Caller, Service};

/// Subscribes to all names or, when one is refused, to none. Answered once all watches have begun:
/// what is written after the answer is told.
pub(super) fn subscribe<'a, S: Service>(
    asking: &mut Asking<'_, 'a, S>,
    names: &[Vec<u8>],
    is_pattern: bool,
) -> Step<'a> {
    let Some(caller) = asking.session.caller.clone() else {
        return Step::Now(Value::Error(no_authentication().into()));
    };
    let wanted: Vec<_> = names
        .iter()
        .map(|name| Subscription::new(name, is_pattern))
        .collect();
    let held = asking.session.subscriptions.get_or_insert_default().clone();
    let mut new: Vec<_> = wanted
        .iter()
        .filter(|one| !held.has(one))
        .cloned()
        .collect();
    new.sort();
    new.dedup();
    if held.count() + new.len() > SUBSCRIPTIONS_MAX {
        let message =
            format!("too_large a connection has at most {SUBSCRIPTIONS_MAX} subscriptions");
        return Step::Now(Value::error(message));
    }
    let shared = asking.shared;
    Step::Later(Box::pin(async move {
        let begun = new.into_iter().map(|one| begin(shared, &caller, one));
        let begun = match try_join_all(begun).await {
            Ok(begun) => begun,
            Err(error) => {
                let asked = Asked {
                    command: None,
                    writes: false,
                };
                return Value::Error(line(&error, asked));
            }
        };
        let what = if is_pattern {
            "psubscribe"
        } else {
            "subscribe"
        };
        let begun = begun.into_iter();
        let mut begun: BTreeMap<_, _> = begun
            .map(|begun| (begun.subscription.clone(), begun))
            .collect();
        let answers = wanted.into_iter().map(|one| {
            if let Some(begun) = begun.remove(&one) {
                held.add(begun);
            }
            confirmed(what, Value::Bulk(one.name().to_vec()), held.count())
        });
        Value::Several(answers.collect())
    }))
}

/// Ends subscriptions: those named or, without names, all of this kind. Answered for each.
pub(super) fn unsubscribe<S: Service>(
    asking: &mut Asking<'_, '_, S>,
    names: &[Vec<u8>],
    is_pattern: bool,
) -> Value {
    let what = if is_pattern {
        "punsubscribe"
    } else {
        "unsubscribe"
    };
    let held = asking.session.subscriptions.get_or_insert_default();
    let unwanted = if names.is_empty() {
        held.of_kind(is_pattern)
    } else {
        let names = names.iter();
        names
            .map(|name| Subscription::new(name, is_pattern))
            .collect()
    };
    if unwanted.is_empty() {
        return confirmed(what, Value::Nil, held.count());
    }
    let answers = unwanted.into_iter().map(|one| {
        held.remove(&one);
        confirmed(what, Value::Bulk(one.name().to_vec()), held.count())
    });
    Value::Several(answers.collect())
}

/// What a command is answered that is none for who has subscribed, as Redis says it.
pub(in crate::resp) fn out_of_context(command: &[u8]) -> Value {
    let command = String::from_utf8_lossy(command).to_lowercase();
    let command: String = command.chars().take(128).collect();
    Value::error(format!(
        "Can't execute '{command}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are \
         allowed in this context"
    ))
}

async fn begin<S: Service>(
    shared: &Arc<Shared<S>>,
    caller: &Caller,
    subscription: Subscription,
) -> Result<Begun, CallError> {
    let Some(watches) = subscription.watches() else {
        let message = "invalid channel: what is not UTF-8 names no topic";
        return Err(Failure::new(FailureCode::InvalidArgument, message).into());
    };
    let mut told: Vec<Told> = Vec::with_capacity(watches.len());
    let mut slots = Vec::with_capacity(watches.len());
    for watch in watches {
        let Some(slot) = shared.load.admit_watch(&shared.limits) else {
            let message = "the node has as many watches as it may; subscribe at another";
            return Err(Failure::new(FailureCode::Overloaded, message).into());
        };
        slots.push(slot);
        told.push(Box::pin(shared.service.watch(caller, watch).await?));
    }
    Ok(Begun {
        listed: shared.resp.subscribers.list(subscription.clone()),
        subscription,
        told,
        slots,
    })
}

fn confirmed(what: &str, name: Value, count: usize) -> Value {
    Value::Push(vec![what.into(), name, Value::Integer(count as i64)])
}
