//! What watchers ask and what they are told.
//!
//! A watch runs on a stream of its own: the client opens one, sends one [`crate::Request::Watch`],
//! and gets [`crate::Response::Watched`] frames with the same request id, until it ends the stream or
//! the node ends the watch with an error. See `docs/watch.md`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::{Revision, shared};

/// What to watch, and from when on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// The plugin; `None` for all.
    pub plugin: Option<String>,
    /// Which of its changes.
    pub subject: Subject,
    /// Where to begin.
    pub start: Start,
    /// How often to be told how far all is delivered, in milliseconds; 0 for never. The node has a
    /// lower bound of its own.
    pub progress_ms: u32,
}

/// Which changes of a plugin are watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Subject {
    /// Changes of the keys that begin with this, as the plugin shows them.
    Keys(ByteBuf),
    /// Events that the plugin publishes on topics that begin with this.
    Topics(String),
}

/// Where a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Start {
    /// With the next change.
    Now,
    /// With the state as it is, key by key, and then every change since. Of topics, as [`Start::Now`]:
    /// what was published is not kept.
    Present,
    /// With the changes of this revision.
    From(Revision),
}

/// What a watcher is told, in this order: [`WatchItem::Begin`], then for [`Start::Present`] the
/// keys and [`WatchItem::Synced`], then changes with rising revisions, and progress between them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WatchItem {
    /// The watch has begun: all changes from this revision on will be told. With [`Start::Present`], the
    /// state before it comes first, and takes the place of whatever was told before.
    Begin(Revision),
    /// Keys as they are, sorted within each plugin.
    Present(Vec<PresentKey>),
    /// All present keys were told. What follows are the changes from this revision on.
    Synced(Revision),
    /// What one command changed of what is watched.
    Changed(Changed),
    /// Every change before this revision was told: a watch can go on from here.
    Progress(Revision),
}

/// A key as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresentKey {
    /// The plugin.
    #[serde(with = "shared::text")]
    pub plugin: Arc<str>,
    /// The key.
    #[serde(with = "shared::bytes")]
    pub key: Arc<[u8]>,
    /// Its value.
    #[serde(with = "shared::bytes")]
    pub value: Arc<[u8]>,
    /// The command that wrote it last.
    pub revision: Revision,
}

/// All that one command changed. It is told whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// The command.
    pub revision: Revision,
    /// Its changes in order.
    pub changes: Vec<Change>,
}

/// A change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The plugin.
    #[serde(with = "shared::text")]
    pub plugin: Arc<str>,
    /// What happened.
    pub event: ChangeEvent,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChangeEvent {
    /// A key was written, perhaps with the value that it had.
    Put {
        /// The key.
        #[serde(with = "shared::bytes")]
        key: Arc<[u8]>,
        /// Its value.
        #[serde(with = "shared::bytes")]
        value: Arc<[u8]>,
    },
    /// A key was removed.
    Delete {
        /// The key.
        #[serde(with = "shared::bytes")]
        key: Arc<[u8]>,
        /// A timer of the plugin did it, such as that of a deadline, rather than a call.
        expired: bool,
    },
    /// The plugin published something.
    Published {
        /// The topic.
        #[serde(with = "shared::text")]
        topic: Arc<str>,
        /// The payload.
        #[serde(with = "shared::bytes")]
        payload: Arc<[u8]>,
    },
    /// What the plugin shows became another state as a whole: it was migrated, removed, or too much
    /// was changed at once. Watchers are never told this; they have to begin anew.
    Renewed,
}

impl Change {
    /// What it takes in memory, about.
    pub fn size_bytes(&self) -> usize {
        const OVERHEAD: usize = 64;
        OVERHEAD
            + match &self.event {
                ChangeEvent::Put { key, value } => key.len() + value.len(),
                ChangeEvent::Delete { key, .. } => key.len(),
                ChangeEvent::Published { topic, payload } => topic.len() + payload.len(),
                ChangeEvent::Renewed => 0,
            }
    }
}

impl Changed {
    /// What it takes in memory, about.
    pub fn size_bytes(&self) -> usize {
        const OVERHEAD: usize = 64;
        OVERHEAD + self.changes.iter().map(Change::size_bytes).sum::<usize>()
    }
}

/// How often a watcher is told how far all is told, unless it says otherwise.
const PROGRESS_MS: u32 = 10_000;

impl Watch {
    /// Watches the keys of all plugins that begin with `prefix`, from now on.
    pub fn keys(prefix: impl AsRef<[u8]>) -> Self {
        Self::of_subject(Subject::Keys(ByteBuf::from(prefix.as_ref())))
    }

    /// Watches what all plugins publish on topics that begin with `prefix`, from now on.
    pub fn topics(prefix: impl Into<String>) -> Self {
        Self::of_subject(Subject::Topics(prefix.into()))
    }

    fn of_subject(subject: Subject) -> Self {
        Self {
            plugin: None,
            subject,
            start: Start::Now,
            progress_ms: PROGRESS_MS,
        }
    }

    /// The same, of one plugin.
    #[must_use]
    pub fn of(self, plugin: impl Into<String>) -> Self {
        let plugin = Some(plugin.into());
        Self { plugin, ..self }
    }

    /// The same, from another start.
    #[must_use]
    pub fn starting(self, start: Start) -> Self {
        Self { start, ..self }
    }

    /// Whether a change is one of those watched.
    pub fn matches(&self, change: &Change) -> bool {
        let of_plugin = |watched: &String| watched.as_str() == &*change.plugin;
        self.plugin.as_ref().is_none_or(of_plugin)
            && match (&self.subject, &change.event) {
                (
                    Subject::Keys(prefix),
                    ChangeEvent::Put { key, .. } | ChangeEvent::Delete { key, .. },
                ) => key.starts_with(prefix),
                (Subject::Topics(prefix), ChangeEvent::Published { topic, .. }) => {
                    topic.starts_with(prefix.as_str())
                }
                _ => false,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    #[test]
    fn items_come_back_from_their_encoding() {
        let plugin: Arc<str> = "kv".into();
        let change = |event| Change {
            plugin: Arc::clone(&plugin),
            event,
        };
        let item = WatchItem::Changed(Changed {
            revision: Revision::start_of(3).next(),
            changes: vec![
                change(ChangeEvent::Put {
                    key: b"a"[..].into(),
                    value: vec![0; 300].into(),
                }),
                change(ChangeEvent::Delete {
                    key: b"b"[..].into(),
                    expired: true,
                }),
                change(ChangeEvent::Published {
                    topic: "news".into(),
                    payload: b""[..].into(),
                }),
            ],
        });
        let bytes = codec::encode(&item);
        assert_eq!(codec::decode::<WatchItem>(&bytes), Ok(item));
        assert!(bytes.len() < 350, "bytes are encoded as bytes");
    }
}
