//! Which commands only read, and so need no session.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hostd_protocol::{Access, PluginDescription};
use tokio::time::Instant;

/// Plugins are upgraded now and then, and a command may begin to write.
const FRESH_FOR: Duration = Duration::from_mins(1);

/// What the client remembers of the plugins' descriptions.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    table: Mutex<Option<Arc<Table>>>,
    /// Held while the descriptions are asked for.
    pub(crate) asking: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
pub(crate) struct Table {
    /// By the command's name: each plugin that has it.
    commands: HashMap<String, Vec<(String, Access)>>,
    learnt: Instant,
}

impl Catalogue {
    pub(crate) fn table(&self) -> Option<Arc<Table>> {
        self.lock().clone()
    }

    pub(crate) fn learn(&self, plugins: &[PluginDescription]) -> Arc<Table> {
        let mut commands: HashMap<_, Vec<_>> = HashMap::new();
        for plugin in plugins {
            for command in &plugin.commands {
                commands
                    .entry(command.name.clone())
                    .or_default()
                    .push((plugin.name.clone(), command.access));
            }
        }
        let table = Arc::new(Table {
            commands,
            learnt: Instant::now(),
        });
        *self.lock() = Some(table.clone());
        table
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<Table>>> {
        self.table
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

impl Table {
    pub(crate) fn is_fresh(&self) -> bool {
        self.learnt.elapsed() < FRESH_FOR
    }

    /// Whether a command reads or writes; `plugin.command` names both. `None` when it is not known,
    /// or two plugins that were not told apart disagree.
    pub(crate) fn access(&self, plugin: Option<&str>, command: &str) -> Option<Access> {
        let (plugin, command) = match (plugin, command.split_once('.')) {
            (None, Some((plugin, command))) => (Some(plugin), command),
            (plugin, _) => (plugin, command),
        };
        let found = match self.commands.get(command) {
            Some(found) => found,
            None => self.commands.get(&command.to_ascii_lowercase())?,
        };
        let mut accesses = found
            .iter()
            .filter(|(name, _)| plugin.is_none_or(|plugin| plugin.eq_ignore_ascii_case(name)))
            .map(|(_, access)| *access);
        let first = accesses.next()?;
        accesses.all(|access| access == first).then_some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostd_protocol::CommandDescription;

    fn plugin(name: &str, commands: &[(&str, Access)]) -> PluginDescription {
        PluginDescription {
            name: name.to_owned(),
            version: String::new(),
            summary: String::new(),
            state_version: 1,
            reads_state_versions: vec![],
            migrates_state_versions: Vec::new(),
            migrates_by_key: false,
            commands: commands
                .iter()
                .map(|(name, access)| CommandDescription {
                    name: (*name).to_owned(),
                    access: *access,
                    arguments: vec![],
                    summary: String::new(),
                    details: String::new(),
                    examples: vec![],
                })
                .collect(),
        }
    }

    #[test]
    fn only_what_certainly_reads_counts_as_a_read() {
        let catalogue = Catalogue::default();
        assert!(catalogue.table().is_none());
        let table = catalogue.learn(&[
            plugin("kv", &[("get", Access::Read), ("set", Access::Write)]),
            plugin("log", &[("get", Access::Write), ("tail", Access::Read)]),
        ]);
        assert_eq!(table.access(None, "tail"), Some(Access::Read));
        assert_eq!(table.access(None, "TAIL"), Some(Access::Read));
        assert_eq!(table.access(None, "set"), Some(Access::Write));
        assert_eq!(table.access(None, "get"), None);
        assert_eq!(table.access(Some("kv"), "get"), Some(Access::Read));
        assert_eq!(table.access(None, "kv.get"), Some(Access::Read));
        assert_eq!(table.access(None, "LOG.GET"), Some(Access::Write));
        assert_eq!(table.access(None, "nobody.get"), None);
        assert_eq!(table.access(Some("log"), "GET"), Some(Access::Write));
        assert_eq!(table.access(Some("log"), "set"), None);
        assert_eq!(table.access(None, "unheard"), None);
        assert!(table.is_fresh());
    }
}
