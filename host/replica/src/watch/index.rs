//! Finds the watchers whom a change concerns, without a look at the others.

use std::collections::BTreeMap;

use hostd_protocol::{Change, ChangeEvent, Subject, Watch};

/// Watchers by what they watch.
#[derive(Debug, Default)]
pub(super) struct Index {
    keys: Places,
    topics: Places,
}

/// Watchers of keys, or of topics.
#[derive(Debug, Default)]
struct Places {
    all: Prefixes,
    by_plugin: BTreeMap<String, Prefixes>,
}

/// Watchers by prefix. A lookup takes one step for each length that occurs.
#[derive(Debug, Default)]
struct Prefixes {
    /// How many prefixes have this length.
    lengths: BTreeMap<usize, usize>,
    watchers: BTreeMap<Vec<u8>, Vec<u64>>,
}

impl Index {
    pub(super) fn add(&mut self, watch: &Watch, watcher: u64) {
        let (places, prefix) = self.place(watch);
        let prefixes = match &watch.plugin {
            Some(plugin) => places.by_plugin.entry(plugin.clone()).or_default(),
            None => &mut places.all,
        };
        prefixes.add(prefix, watcher);
    }

    pub(super) fn remove(&mut self, watch: &Watch, watcher: u64) {
        let (places, prefix) = self.place(watch);
        match &watch.plugin {
            Some(plugin) => {
                if let Some(prefixes) = places.by_plugin.get_mut(plugin) {
                    prefixes.remove(prefix, watcher);
                    if prefixes.watchers.is_empty() {
                        places.by_plugin.remove(plugin);
                    }
                }
            }
            None => places.all.remove(prefix, watcher),
        }
    }

    /// Calls `found` for each watcher that a change concerns.
    pub(super) fn find(&self, change: &Change, mut found: impl FnMut(u64)) {
        match &change.event {
            ChangeEvent::Put { key, .. } | ChangeEvent::Delete { key, .. } => {
                self.keys.find(&change.plugin, key, &mut found);
            }
            ChangeEvent::Published { topic, .. } => {
                self.topics
                    .find(&change.plugin, topic.as_bytes(), &mut found);
            }
            ChangeEvent::Renewed => {
                for places in [&self.keys, &self.topics] {
                    let of_plugin = places.by_plugin.get(&*change.plugin);
                    for prefixes in of_plugin.into_iter().chain([&places.all]) {
                        let watchers = prefixes.watchers.values().flatten();
                        watchers.copied().for_each(&mut found);
                    }
                }
            }
        }
    }

    fn place<'a>(&mut self, watch: &'a Watch) -> (&mut Places, &'a [u8]) {
        match &watch.subject {
            Subject::Keys(prefix) => (&mut self.keys, prefix),
            Subject::Topics(prefix) => (&mut self.topics, prefix.as_bytes()),
        }
    }
}

impl Places {
    fn find(&self, plugin: &str, key: &[u8], found: &mut impl FnMut(u64)) {
        self.all.find(key, found);
        if let Some(prefixes) = self.by_plugin.get(plugin) {
            prefixes.find(key, found);
        }
    }
}

impl Prefixes {
    fn add(&mut self, prefix: &[u8], watcher: u64) {
        let watchers = self.watchers.entry(prefix.to_vec()).or_default();
        if watchers.is_empty() {
            *self.lengths.entry(prefix.len()).or_default() += 1;
        }
        watchers.push(watcher);
    }

    fn remove(&mut self, prefix: &[u8], watcher: u64) {
        let Some(watchers) = self.watchers.get_mut(prefix) else {
            return;
        };
        watchers.retain(|other| *other != watcher);
        if !watchers.is_empty() {
            return;
        }
        self.watchers.remove(prefix);
        if let Some(count) = self.lengths.get_mut(&prefix.len()) {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&prefix.len());
            }
        }
    }

    fn find(&self, key: &[u8], found: &mut impl FnMut(u64)) {
        for (length, _) in self.lengths.range(..=key.len()) {
            let watchers = self.watchers.get(&key[..*length]).into_iter().flatten();
            watchers.copied().for_each(&mut *found);
        }
    }
}

#[cfg(test)]
mod tests {
    use hostd_protocol::Start;
    use serde_bytes::ByteBuf;

    use super::*;

    fn keys(plugin: Option<&str>, prefix: &str) -> Watch {
        Watch {
            plugin: plugin.map(str::to_owned),
            subject: Subject::Keys(ByteBuf::from(prefix)),
            start: Start::Now,
            progress_ms: 0,
        }
    }

    fn found(index: &Index, plugin: &str, event: ChangeEvent) -> Vec<u64> {
        let change = Change {
            plugin: plugin.into(),
            event,
        };
        let mut found = Vec::new();
        index.find(&change, |watcher| found.push(watcher));
        found.sort_unstable();
        found
    }

    fn deleted(key: &str) -> ChangeEvent {
        ChangeEvent::Delete {
            key: key.as_bytes().into(),
            expired: false,
        }
    }

    #[test]
    fn those_are_found_whose_prefix_it_is_and_no_others() {
        let mut index = Index::default();
        let watches = [
            keys(Some("kv"), "user:"),
            keys(Some("kv"), "user:1"),
            keys(Some("kv"), ""),
            keys(None, "user:"),
            keys(Some("other"), "user:"),
            Watch {
                subject: Subject::Topics("user:".into()),
                ..keys(Some("kv"), "")
            },
        ];
        for (watcher, watch) in watches.iter().enumerate() {
            index.add(watch, watcher as u64);
        }
        assert_eq!(found(&index, "kv", deleted("user:1")), [0, 1, 2, 3]);
        assert_eq!(found(&index, "kv", deleted("user")), [2]);
        assert_eq!(found(&index, "other", deleted("user:2")), [3, 4]);
        let published = ChangeEvent::Published {
            topic: "user:x".into(),
            payload: b""[..].into(),
        };
        assert_eq!(found(&index, "kv", published), [5]);
        assert_eq!(
            found(&index, "kv", ChangeEvent::Renewed),
            [0, 1, 2, 3, 5],
            "a new state concerns all of the plugin's"
        );
        for (watcher, watch) in watches.iter().enumerate() {
            index.remove(watch, watcher as u64);
        }
        assert!(found(&index, "kv", deleted("user:1")).is_empty());
        assert!(index.keys.by_plugin.is_empty() && index.topics.by_plugin.is_empty());
        assert!(index.keys.all.lengths.is_empty());
    }
}
