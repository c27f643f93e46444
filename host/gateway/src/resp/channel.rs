//! What one subscribes to, and what is told of it.
//!
//! A channel is a topic that plugins publish on. Changes of keys have the channels that Redis has for
//! them (<https://redis.io/docs/latest/develop/use/keyspace-notifications/>): `__keyspace@0__:KEY` is
//! told the event, `__keyevent@0__:EVENT` the key. Such names are for keys alone: what is published on a
//! topic that is named so is told to nobody here.

use hostd_protocol::{Change, ChangeEvent, Watch};

use super::encode::{Version, encode_message};
use super::glob::{literal_prefix, matches};

const KEYSPACE: &[u8] = b"__keyspace@0__:";
const KEYEVENT: &[u8] = b"__keyevent@0__:";

/// A channel, or a pattern of channels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Subscription {
    Channel(Vec<u8>),
    Pattern(Vec<u8>),
}

impl Subscription {
    pub(crate) fn new(name: &[u8], is_pattern: bool) -> Self {
        let name = name.to_vec();
        if is_pattern {
            Self::Pattern(name)
        } else {
            Self::Channel(name)
        }
    }

    pub(crate) fn name(&self) -> &[u8] {
        match self {
            Self::Channel(name) | Self::Pattern(name) => name,
        }
    }

    pub(crate) fn is_pattern(&self) -> bool {
        matches!(self, Self::Pattern(_))
    }

    /// Whether what is told on this channel is told to it.
    pub(crate) fn covers(&self, channel: &[u8]) -> bool {
        match self {
            Self::Channel(name) => name == channel,
            Self::Pattern(pattern) => matches(pattern, channel),
        }
    }

    /// What is to be watched for it, of all plugins. A pattern may be one of both keys and topics. `None`
    /// when no topic can be named so.
    pub(crate) fn watches(&self) -> Option<Vec<Watch>> {
        let begins = match self {
            Self::Channel(name) => name.as_slice(),
            Self::Pattern(pattern) => literal_prefix(pattern),
        };
        let mut watches = Vec::new();
        if let Some(key) = begins.strip_prefix(KEYSPACE) {
            watches.push(Watch::keys(key));
        } else if begins.starts_with(KEYEVENT) || (self.is_pattern() && may_be_of_keys(begins)) {
            watches.push(Watch::keys(""));
        }
        if !is_of_keys(begins) {
            let topic = match (std::str::from_utf8(begins), self) {
                (Ok(topic), _) => topic,
                (Err(_), Self::Channel(_)) => return None,
                // The rest of a character that a class or a star may stand for.
                (Err(error), Self::Pattern(_)) => {
                    let (valid, _) = begins.split_at(error.valid_up_to());
                    std::str::from_utf8(valid).unwrap_or_default()
                }
            };
            watches.push(Watch::topics(topic));
        }
        for watch in &mut watches {
            // Nobody here is told of progress.
            watch.progress_ms = 0;
        }
        Some(watches)
    }

    /// Adds the messages that a change comes to.
    pub(crate) fn tell(&self, change: &Change, version: Version, output: &mut Vec<u8>) {
        let (key, event) = match &change.event {
            ChangeEvent::Put { key, .. } => (key, "set"),
            ChangeEvent::Delete { key, expired } => (key, if *expired { "expired" } else { "del" }),
            ChangeEvent::Published { topic, payload } => {
                if !is_of_keys(topic.as_bytes()) {
                    self.tell_one(topic.as_bytes(), payload, version, output);
                }
                return;
            }
            ChangeEvent::Renewed => return,
        };
        let event = event.as_bytes();
        self.tell_one(&[KEYSPACE, key].concat(), event, version, output);
        self.tell_one(&[KEYEVENT, event].concat(), key, version, output);
    }

    fn tell_one(&self, channel: &[u8], payload: &[u8], version: Version, output: &mut Vec<u8>) {
        if !self.covers(channel) {
            return;
        }
        match self {
            Self::Channel(_) => encode_message(&[b"message", channel, payload], version, output),
            Self::Pattern(pattern) => {
                encode_message(&[b"pmessage", pattern, channel, payload], version, output);
            }
        }
    }
}

/// Whether a channel is one of keys, not a topic.
pub(crate) fn is_of_keys(channel: &[u8]) -> bool {
    channel.starts_with(KEYSPACE) || channel.starts_with(KEYEVENT)
}

/// Whether a channel that begins with this may be one of keys.
fn may_be_of_keys(begins: &[u8]) -> bool {
    KEYSPACE.starts_with(begins) || KEYEVENT.starts_with(begins)
}

#[cfg(test)]
mod tests {
    use hostd_protocol::Subject;

    use super::*;

    fn channel(name: &str) -> Subscription {
        Subscription::new(name.as_bytes(), false)
    }

    fn pattern(name: &str) -> Subscription {
        Subscription::new(name.as_bytes(), true)
    }

    fn watched(subscription: &Subscription) -> Vec<String> {
        let watches = subscription.watches().unwrap().into_iter();
        watches
            .map(|watch| match watch.subject {
                Subject::Keys(prefix) => format!("keys {}", prefix.escape_ascii()),
                Subject::Topics(prefix) => format!("topics {prefix}"),
            })
            .collect()
    }

    #[test]
    fn channels_are_topics_and_those_of_redis_are_keys() {
        assert_eq!(watched(&channel("news")), ["topics news"]);
        assert_eq!(watched(&channel("__keyspace@0__:a*")), ["keys a*"]);
        assert_eq!(watched(&channel("__keyevent@0__:set")), ["keys "]);
        assert_eq!(watched(&channel("__key")), ["topics __key"]);
        assert_eq!(watched(&pattern("news.*")), ["topics news."]);
        assert_eq!(watched(&pattern("__keyspace@0__:user:*")), ["keys user:"]);
        assert_eq!(watched(&pattern("__keyevent@0__:*")), ["keys "]);
        let both = ["keys ", "topics __key"];
        assert_eq!(watched(&pattern("__key*__:*")), both);
        assert_eq!(watched(&pattern("*")), ["keys ", "topics "]);
        let cut = Subscription::new(b"caf\xc3*", true);
        assert_eq!(watched(&cut), ["topics caf"]);
        assert!(Subscription::new(b"caf\xc3", false).watches().is_none());
    }

    #[test]
    fn a_change_has_the_messages_that_redis_has_for_it() {
        let change = |event| Change {
            plugin: "kv".into(),
            event,
        };
        let key = |key: &[u8]| key.into();
        let changes = [
            change(ChangeEvent::Put {
                key: key(b"a"),
                value: key(b"1"),
            }),
            change(ChangeEvent::Delete {
                key: key(b"b"),
                expired: true,
            }),
            change(ChangeEvent::Delete {
                key: key(b"c"),
                expired: false,
            }),
            change(ChangeEvent::Published {
                topic: "news".into(),
                payload: key(b"x"),
            }),
            change(ChangeEvent::Published {
                topic: "__keyspace@0__:a".into(),
                payload: key(b"a lie"),
            }),
        ];
        let shown = |subscription: Subscription, version| {
            let mut text = Vec::new();
            for change in &changes {
                subscription.tell(change, version, &mut text);
            }
            String::from_utf8(text).unwrap().replace("\r\n", " ")
        };
        let told = |name: &str| shown(channel(name), Version::Three);
        assert_eq!(
            told("__keyspace@0__:a"),
            ">3 $7 message $16 __keyspace@0__:a $3 set "
        );
        assert_eq!(
            told("__keyspace@0__:c"),
            ">3 $7 message $16 __keyspace@0__:c $3 del "
        );
        assert_eq!(
            told("__keyevent@0__:expired"),
            ">3 $7 message $22 __keyevent@0__:expired $1 b "
        );
        assert_eq!(told("news"), ">3 $7 message $4 news $1 x ");
        assert_eq!(told("new"), "");
        assert_eq!(
            shown(pattern("n?ws"), Version::Two),
            "*4 $8 pmessage $4 n?ws $4 news $1 x "
        );
        let all = shown(pattern("*"), Version::Three);
        assert_eq!(all.matches("pmessage").count(), 7, "{all}");
    }
}
