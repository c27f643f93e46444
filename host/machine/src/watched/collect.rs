//! Gathers what commands change, in order, as they are applied.

use std::collections::VecDeque;
use std::sync::Arc;

use hostd_protocol::{Change, ChangeEvent, Changed, Revision};

use crate::Event;
use crate::catalogue::{Catalogue, Installed};
use crate::store::{Writes, space_prefix};

/// What one command may change to be told of each change. Beyond, watchers are told that all is new.
/// With what is around it, it fits into a frame.
const COMMAND_BYTES_MAX: usize = 40 << 20;

/// Gathers changes.
#[derive(Default)]
pub(crate) struct Collector {
    /// Of the command that runs.
    running: Vec<Change>,
    running_bytes: usize,
    /// What is gathered and not on disk yet; `None` where nobody wants it.
    unsaved: Option<Unsaved>,
}

/// The newest changes, within a bound.
pub(crate) struct Unsaved {
    pub(crate) bytes_max: usize,
    pub(crate) bytes: usize,
    pub(crate) changed: VecDeque<Arc<Changed>>,
    /// Everything from here on is there.
    pub(crate) from: Revision,
}

impl Collector {
    /// From `from` on, also keeps what it gathers, for the disk.
    pub(crate) fn keep(&mut self, from: Revision, bytes_max: usize) {
        self.unsaved = Some(Unsaved {
            bytes_max,
            bytes: 0,
            changed: VecDeque::new(),
            from,
        });
    }

    /// The changes that a plugin's command or timer wrote to the state that is shown, and what it
    /// published.
    pub(crate) fn note(
        &mut self,
        installed: &Installed,
        writes: &Writes,
        events: &[Event],
        expired: bool,
    ) {
        let parts = installed.plugin.watched();
        if !parts.is_empty() {
            let space = space_prefix(installed.record.space);
            for (key, write) in writes {
                let Some(key) = key.strip_prefix(&space) else {
                    continue;
                };
                let shown = parts
                    .of(key)
                    .and_then(|part| Some((part, part.show_key(key)?)));
                let Some((part, key)) = shown else { continue };
                let event = match write {
                    Some(value) => ChangeEvent::Put {
                        key,
                        value: part.show_value(value),
                    },
                    None => ChangeEvent::Delete { key, expired },
                };
                self.push(&installed.name, event);
            }
        }
        for event in events {
            let event = ChangeEvent::Published {
                topic: event.topic.as_str().into(),
                payload: event.payload.as_slice().into(),
            };
            self.push(&installed.name, event);
        }
    }

    /// What a command made of the catalogue: plugins that now show another state than before.
    pub(crate) fn note_plugins(&mut self, before: &Catalogue, after: &Catalogue) {
        let shows = |installed: &Installed| {
            (
                installed.id,
                installed.record.space,
                installed.plugin.watched().clone(),
            )
        };
        for installed in before.installed() {
            let now = after.get(&installed.name);
            let shown = installed.shows() || now.is_some_and(|now| now.shows());
            if shown && now.map(|now| shows(now)) != Some(shows(installed)) {
                self.push(&installed.name, ChangeEvent::Renewed);
            }
        }
        for installed in after.installed().filter(|installed| installed.shows()) {
            // One that comes back finds the state that it left behind.
            let comes_back =
                before.get(&installed.name).is_none() && before.record(&installed.name).is_some();
            if comes_back {
                self.push(&installed.name, ChangeEvent::Renewed);
            }
        }
    }

    fn push(&mut self, plugin: &Arc<str>, event: ChangeEvent) {
        let renewed = |change: &Change| {
            change.plugin == *plugin && matches!(change.event, ChangeEvent::Renewed)
        };
        if self.running_bytes > COMMAND_BYTES_MAX && self.running.iter().any(renewed) {
            return;
        }
        let change = Change {
            plugin: Arc::clone(plugin),
            event,
        };
        self.running_bytes += change.size_bytes();
        self.running.push(change);
        if self.running_bytes > COMMAND_BYTES_MAX {
            self.forget_running();
        }
    }

    /// In place of what the running command changed, that its plugins' states are new.
    fn forget_running(&mut self) {
        let mut plugins: Vec<Arc<str>> = Vec::new();
        for change in self.running.drain(..) {
            if !plugins.contains(&change.plugin) {
                plugins.push(change.plugin);
            }
        }
        self.running = plugins
            .into_iter()
            .map(|plugin| Change {
                plugin,
                event: ChangeEvent::Renewed,
            })
            .collect();
    }

    /// The command has ended. What it changed, if anything.
    pub(crate) fn end(&mut self, revision: Revision) -> Option<Arc<Changed>> {
        self.running_bytes = 0;
        if self.running.is_empty() {
            return None;
        }
        let changes = std::mem::take(&mut self.running);
        let changed = Arc::new(Changed { revision, changes });
        if let Some(unsaved) = &mut self.unsaved {
            unsaved.push(Arc::clone(&changed));
        }
        Some(changed)
    }

    /// The state was replaced by that of the checkpoint at `index`.
    pub(crate) fn begin_anew(&mut self, index: u64) {
        drop(self.take_unsaved(index));
    }

    /// Takes what is to be saved with the checkpoint at `index`.
    pub(crate) fn take_unsaved(&mut self, index: u64) -> Option<Unsaved> {
        let next = self.unsaved.as_ref().map(|unsaved| Unsaved {
            bytes_max: unsaved.bytes_max,
            bytes: 0,
            changed: VecDeque::new(),
            from: Revision::start_of(index + 1),
        });
        std::mem::replace(&mut self.unsaved, next)
    }
}

impl Unsaved {
    fn push(&mut self, changed: Arc<Changed>) {
        self.bytes += changed.size_bytes();
        self.changed.push_back(changed);
        while self.bytes > self.bytes_max {
            let Some(oldest) = self.changed.pop_front() else {
                break;
            };
            self.bytes -= oldest.size_bytes();
            self.from = oldest.revision.next();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(bytes: usize) -> ChangeEvent {
        ChangeEvent::Put {
            key: b"k"[..].into(),
            value: vec![0; bytes].into(),
        }
    }

    #[test]
    fn what_is_too_much_becomes_a_new_state() {
        let mut collector = Collector::default();
        let (one, other): (Arc<str>, Arc<str>) = ("one".into(), "other".into());
        collector.push(&one, put(10));
        collector.push(&other, put(COMMAND_BYTES_MAX));
        collector.push(&one, put(10));
        let changed = collector.end(Revision::start_of(1)).unwrap();
        let told: Vec<_> = changed
            .changes
            .iter()
            .map(|change| (&*change.plugin, change.event == ChangeEvent::Renewed))
            .collect();
        assert_eq!(told, [("one", true), ("other", true)]);
        collector.push(&one, put(10));
        let next = collector.end(Revision::start_of(2)).unwrap();
        assert_eq!(next.changes[0].event, put(10));
    }

    #[test]
    fn the_newest_unsaved_changes_are_kept_and_where_they_begin_is_known() {
        let mut collector = Collector::default();
        collector.keep(Revision::start_of(5), 1_000);
        let plugin: Arc<str> = "one".into();
        for index in 5..10 {
            collector.push(&plugin, put(200));
            collector.end(Revision::start_of(index));
        }
        let unsaved = collector.take_unsaved(9).unwrap();
        assert_eq!(unsaved.changed.len(), 3);
        assert_eq!(unsaved.from, Revision::start_of(6).next());
        assert_eq!(unsaved.changed[0].revision, Revision::start_of(7));
        let next = collector.take_unsaved(12).unwrap();
        assert!(next.changed.is_empty());
        assert_eq!(next.from, Revision::start_of(10));
    }
}
