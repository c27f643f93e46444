//! What a connection has subscribed to, and who has on this node.
//!
//! A subscription is a watch or two of the service's, which the connection's own task asks whenever its
//! client has taken what came before: nothing waits in a queue, and a client that takes less than comes
//! is cut by the watch, which falls behind. As in Redis a subscription is told what happens while it
//! lasts; one that ends takes the connection with it, so that its client knows.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use hostd_protocol::{CallError, Changed};

use super::channel::{Subscription, is_of_keys};
use super::encode::Version;
use super::merge::{Merge, Told};
use crate::limits::WatchSlot;

/// Subscriptions of one connection.
pub(crate) const SUBSCRIPTIONS_MAX: usize = 1_024;

/// What one connection has subscribed to, for its commands and its task.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subscriptions(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    all: BTreeMap<Subscription, Watched>,
    /// Whose watch has this number.
    by_number: BTreeMap<u64, Subscription>,
    merge: Merge,
    /// What is being told, and how many of its changes have been.
    telling: Option<(u64, Changed, usize)>,
    /// Why nothing more will be told.
    ended: Option<CallError>,
}

/// The watches of one subscription.
#[derive(Debug)]
struct Watched {
    numbers: Vec<u64>,
    _listed: Listed,
    _slots: Vec<WatchSlot>,
}

/// A subscription whose watches have begun.
pub(crate) struct Begun {
    pub(crate) subscription: Subscription,
    pub(crate) told: Vec<Told>,
    pub(crate) slots: Vec<WatchSlot>,
    pub(crate) listed: Listed,
}

impl Subscriptions {
    pub(crate) fn count(&self) -> usize {
        self.lock().all.len()
    }

    pub(crate) fn has(&self, subscription: &Subscription) -> bool {
        self.lock().all.contains_key(subscription)
    }

    /// Those of one kind.
    pub(crate) fn of_kind(&self, is_pattern: bool) -> Vec<Subscription> {
        let held = self.lock();
        let all = held.all.keys();
        all.filter(|subscription| subscription.is_pattern() == is_pattern)
            .cloned()
            .collect()
    }

    /// Adds one that was not there. It is told nothing until the connection's task asks.
    pub(crate) fn add(&self, begun: Begun) {
        let mut held = self.lock();
        let mut numbers = Vec::with_capacity(begun.told.len());
        for told in begun.told {
            let number = held.merge.add(told);
            held.by_number.insert(number, begun.subscription.clone());
            numbers.push(number);
        }
        let watched = Watched {
            numbers,
            _listed: begun.listed,
            _slots: begun.slots,
        };
        held.all.insert(begun.subscription, watched);
    }

    /// Ends one, if it is there. It is told nothing more, not even of what has been begun.
    pub(crate) fn remove(&self, subscription: &Subscription) {
        let mut held = self.lock();
        let Some(watched) = held.all.remove(subscription) else {
            return;
        };
        for number in watched.numbers {
            held.merge.remove(number);
            held.by_number.remove(&number);
            held.telling.take_if(|(telling, ..)| *telling == number);
        }
    }

    /// Adds the messages of the next change to `output`. When a subscription has ended, nothing more
    /// comes: see [`ended`](Self::ended).
    pub(crate) fn poll_message(
        &self,
        context: &mut Context<'_>,
        version: Version,
        output: &mut Vec<u8>,
    ) -> Poll<()> {
        let mut held = self.lock();
        let held = &mut *held;
        if held.ended.is_some() {
            return Poll::Pending;
        }
        let (number, changed, place) = match held.telling.take() {
            Some(telling) => telling,
            None => match held.merge.poll_next(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok((number, changed))) => (number, changed, 0),
                Poll::Ready(Err(error)) => {
                    held.ended = Some(error);
                    return Poll::Ready(());
                }
            },
        };
        let subscription = held.by_number.get(&number);
        if let (Some(subscription), Some(change)) = (subscription, changed.changes.get(place)) {
            subscription.tell(change, version, output);
            if place + 1 < changed.changes.len() {
                held.telling = Some((number, changed, place + 1));
            }
        }
        Poll::Ready(())
    }

    /// Why a subscription has ended, and its connection is to end.
    pub(crate) fn ended(&self) -> Option<CallError> {
        self.lock().ended.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who has subscribed on this node, over all of its connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subscribers(Arc<Mutex<HashMap<Subscription, usize>>>);

/// Somebody who has, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Listed {
    subscribers: Subscribers,
    subscription: Subscription,
}

impl Subscribers {
    pub(crate) fn list(&self, subscription: Subscription) -> Listed {
        *self.lock().entry(subscription.clone()).or_default() += 1;
        Listed {
            subscribers: self.clone(),
            subscription,
        }
    }

    /// How many are told what is published on a channel: as in Redis, one is told once for the channel and
    /// once for each pattern.
    pub(crate) fn told_of(&self, channel: &[u8]) -> usize {
        if is_of_keys(channel) {
            return 0;
        }
        let all = self.lock();
        let told = all.iter().filter(|(one, _)| one.covers(channel));
        told.map(|(_, count)| count).sum()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Subscription, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut all = self.subscribers.lock();
        if let Some(count) = all.get_mut(&self.subscription) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.subscription);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt, stream};
    use hostd_protocol::{Change, ChangeEvent, Revision, WatchItem};

    use super::*;

    #[test]
    fn subscribers_are_counted_as_long_as_they_are() {
        let subscribers = Subscribers::default();
        let list = |name: &[u8], is_pattern| subscribers.list(Subscription::new(name, is_pattern));
        let one = list(b"news", false);
        let two = list(b"news", false);
        let pattern = list(b"n*", true);
        assert_eq!(subscribers.told_of(b"news"), 3);
        assert_eq!(subscribers.told_of(b"nothing"), 1);
        assert_eq!(subscribers.told_of(b"__keyspace@0__:news"), 0);
        drop((one, pattern));
        assert_eq!(subscribers.told_of(b"news"), 1);
        drop(two);
        assert!(subscribers.lock().is_empty(), "memory is given back");
    }

    #[test]
    fn what_is_unsubscribed_amid_a_command_is_told_no_more() {
        let change = |topic: &str| Change {
            plugin: "kv".into(),
            event: ChangeEvent::Published {
                topic: topic.into(),
                payload: b"x"[..].into(),
            },
        };
        let changed = Changed {
            revision: Revision::start_of(1),
            changes: vec![change("news"), change("news"), change("news")],
        };
        let told = stream::iter([Ok(WatchItem::Changed(changed))]).chain(stream::pending());
        let subscription = Subscription::new(b"news", false);
        let subscriptions = Subscriptions::default();
        subscriptions.add(Begun {
            subscription: subscription.clone(),
            told: vec![Box::pin(told)],
            slots: Vec::new(),
            listed: Subscribers::default().list(subscription.clone()),
        });
        let mut context = Context::from_waker(std::task::Waker::noop());
        let mut output = Vec::new();
        for _ in 0..2 {
            let told = subscriptions.poll_message(&mut context, Version::Two, &mut output);
            assert!(told.is_ready());
        }
        subscriptions.remove(&subscription);
        let told = subscriptions.poll_message(&mut context, Version::Two, &mut output);
        assert!(told.is_pending() && subscriptions.count() == 0);
        let text = String::from_utf8(output).unwrap();
        assert_eq!(text.matches("message").count(), 2, "one at a time");
    }
}
