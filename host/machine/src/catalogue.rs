//! The plugins of a cluster and the names by which their commands are called.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use hostd_protocol::{
    CommandDescription, FailedMigration, Limits, PluginDescription, Rejection, RejectionCode,
    TimeNs,
};
use serde::{Deserialize, Serialize};

use crate::Fault;
use crate::plugin::{CompileError, Plugin};
use crate::query::QueryInstance;
use crate::spent::Spent;
use crate::store::{Key, Layers, Span, Table, Writes};
use crate::system::{decode, encode};
use crate::wasm::Engine;

/// A plugin's row in the state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Stays the same over all versions. Timers carry it.
    pub(crate) id: u32,
    /// Number of the key space that holds the state. Plugins and key spaces share one sequence of
    /// numbers; a plugin's first key space has the plugin's own.
    pub(crate) space: u32,
    /// Layout of the state.
    pub(crate) state_version: u32,
    /// Digest of the component that runs; `None` when the plugin was removed and its state kept.
    pub(crate) active: Option<[u8; 32]>,
    /// Versions whose components are kept, the one that was activated last at the end.
    pub(crate) kept: Vec<Kept>,
    /// Limits that this plugin has for itself.
    pub(crate) limits: Vec<(String, u64)>,
    /// The last migration that failed, until the next change.
    pub(crate) failed: Option<FailedMigration>,
}

/// A kept version.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) digest: [u8; 32],
    pub(crate) version: String,
    pub(crate) state_version: u32,
    /// Log index of the entry that activated it last.
    pub(crate) index: u64,
    pub(crate) time: TimeNs,
    pub(crate) principal: String,
}

/// A plugin that is part of the cluster.
pub(crate) struct Installed {
    pub(crate) id: u32,
    pub(crate) name: Arc<str>,
    pub(crate) record: Record,
    /// The code that runs.
    pub(crate) plugin: Arc<Plugin>,
    /// The cluster's limits with the plugin's own.
    pub(crate) limits: Arc<Limits>,
    /// Idle instances for queries.
    pub(crate) idle: Mutex<Vec<QueryInstance>>,
    /// All versions of the plugin count together.
    pub(crate) spent: Arc<Spent>,
}

/// All plugins. Shared by the machine and every view; replaced when it changes.
#[derive(Clone, Default)]
pub struct Catalogue {
    plugins: BTreeMap<Arc<str>, Arc<Installed>>,
    /// Plugins that were removed and whose state is kept.
    removed: BTreeMap<String, Record>,
    commands: HashMap<Arc<str>, Vec<Target>>,
}

/// A command of a plugin.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) installed: Arc<Installed>,
    pub(crate) command: Arc<str>,
    position: usize,
}

impl Target {
    pub(crate) fn description(&self) -> &CommandDescription {
        &self.installed.plugin.description().commands[self.position]
    }
}

impl Record {
    /// The row that holds it.
    pub(crate) fn row(&self, name: &str) -> (Key, Option<Arc<[u8]>>) {
        (
            Table::Catalogue.key(&[name.as_bytes()]),
            Some(encode(self).into()),
        )
    }

    /// The limits in force for it.
    pub(crate) fn limits(&self, cluster: &Limits) -> Limits {
        let mut limits = cluster.clone();
        for (name, value) in &self.limits {
            // They were checked when they were set.
            let _ = limits.set(name, *value);
        }
        limits
    }

    pub(crate) fn keeps(&self, digest: &[u8; 32]) -> bool {
        self.kept.iter().any(|kept| kept.digest == *digest)
    }
}

/// The component with this digest, compiled.
pub(crate) fn compile(
    engine: &Engine,
    layers: &Layers,
    digest: &[u8; 32],
) -> Result<Arc<Plugin>, Fault> {
    let component = component(layers, digest)?
        .ok_or_else(|| Fault::Corrupt("a plugin's component is missing".into()))?;
    engine.compile(&component).map_err(|error| match error {
        CompileError::Plugin(error) => Fault::Engine(format!(
            "an installed plugin does not compile here: {error}"
        )),
        CompileError::Fault(fault) => fault,
    })
}

/// The bytes of the component with this digest, if the state has it.
pub(crate) fn component(layers: &Layers, digest: &[u8; 32]) -> Result<Option<Arc<[u8]>>, Fault> {
    layers.get_with(&Writes::new(), &Table::Component.key(&[digest]))
}

impl Catalogue {
    /// Compiles every plugin that the state has.
    pub(crate) fn load(engine: &Engine, layers: &Layers, limits: &Limits) -> Result<Self, Fault> {
        let none = Writes::new();
        let (start, end) = Table::Catalogue.bounds();
        let mut catalogue = Self::default();
        for item in layers.scan(&none, Span::new(&start, &end))? {
            let (key, row) = item?;
            let record: Record = decode(&row.value)?;
            if let Some(digest) = record.active {
                let plugin = compile(engine, layers, &digest)?;
                catalogue.put(record, plugin, limits);
            } else {
                let name = String::from_utf8_lossy(&key[1..]).into_owned();
                catalogue.removed.insert(name, record);
            }
        }
        Ok(catalogue)
    }

    /// Makes this what is known of a plugin, and the code what it runs.
    pub(crate) fn put(&mut self, record: Record, plugin: Arc<Plugin>, limits: &Limits) {
        let name: Arc<str> = plugin.description().name.as_str().into();
        let before = self.plugins.get(&name);
        let spent = before.map_or_else(Arc::default, |before| Arc::clone(&before.spent));
        self.take(&name);
        let installed = Arc::new(Installed {
            id: record.id,
            name: Arc::clone(&name),
            limits: Arc::new(record.limits(limits)),
            record,
            plugin,
            idle: Mutex::new(Vec::new()),
            spent,
        });
        for (position, command) in installed.plugin.description().commands.iter().enumerate() {
            let command: Arc<str> = command.name.as_str().into();
            let target = Target {
                installed: Arc::clone(&installed),
                command: Arc::clone(&command),
                position,
            };
            self.commands.entry(command).or_default().push(target);
        }
        self.plugins.insert(name, installed);
    }

    /// Takes a plugin out, whether it runs or was removed, and returns what was known of it.
    pub(crate) fn take(&mut self, name: &str) -> Option<Record> {
        let Some(installed) = self.plugins.remove(name) else {
            return self.removed.remove(name);
        };
        self.commands.retain(|_, targets| {
            targets.retain(|target| *target.installed.name != *name);
            !targets.is_empty()
        });
        Some(installed.record.clone())
    }

    /// Keeps the record of a plugin that does not run.
    pub(crate) fn keep_removed(&mut self, name: String, record: Record) {
        self.removed.insert(name, record);
    }

    /// The same plugins with other limits.
    pub(crate) fn with_limits(&self, limits: &Limits) -> Self {
        let mut changed = self.clone();
        for installed in self.plugins.values() {
            changed.put(
                installed.record.clone(),
                Arc::clone(&installed.plugin),
                limits,
            );
        }
        changed
    }

    /// What is known of a plugin, whether it runs or was removed.
    pub(crate) fn record(&self, name: &str) -> Option<&Record> {
        let installed = self.plugins.get(name).map(|installed| &installed.record);
        installed.or_else(|| self.removed.get(name))
    }

    /// Every plugin's record by name, sorted, with those that were removed.
    pub(crate) fn records(&self) -> impl Iterator<Item = (&str, &Record)> {
        let running = self
            .plugins
            .iter()
            .map(|(name, installed)| (&**name, &installed.record));
        let removed = self
            .removed
            .iter()
            .map(|(name, record)| (name.as_str(), record));
        running.chain(removed)
    }

    /// Commands of a plugin that others have too: their names alone do not do.
    pub(crate) fn shared_names(&self, plugin: &Plugin) -> Vec<String> {
        let own = &plugin.description().name;
        let others = |command: &str| {
            self.commands
                .get(command)
                .is_some_and(|targets| targets.iter().any(|target| *target.installed.name != **own))
        };
        let names = plugin.description().commands.iter();
        names
            .map(|command| command.name.clone())
            .filter(|name| others(name))
            .collect()
    }

    /// The plugin with this name.
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Installed>> {
        self.plugins.get(name)
    }

    pub(crate) fn by_id(&self, id: u32) -> Option<&Arc<Installed>> {
        self.plugins.values().find(|installed| installed.id == id)
    }

    pub(crate) fn installed(&self) -> impl Iterator<Item = &Arc<Installed>> {
        self.plugins.values()
    }

    /// What each plugin's code has used on this node, sorted by name.
    pub fn spent(&self) -> impl Iterator<Item = (&str, &Spent)> {
        self.installed()
            .map(|installed| (&*installed.name, &*installed.spent))
    }

    /// Name, description and digest of every plugin, sorted by name.
    pub fn plugins(&self) -> impl Iterator<Item = (&PluginDescription, [u8; 32])> {
        self.plugins
            .values()
            .map(|installed| (installed.plugin.description(), installed.plugin.digest()))
    }

    /// The plugin that a command's name means, and what that says of the command.
    pub fn described(
        &self,
        plugin: Option<&str>,
        command: &str,
    ) -> Option<(&str, &CommandDescription)> {
        let target = self.resolve(plugin, command).ok()?;
        Some((&target.installed.name, target.description()))
    }

    /// The version of a plugin that runs, and the layout of its state.
    pub fn version(&self, plugin: &str) -> Option<(String, u32)> {
        let description = self.get(plugin)?.plugin.description();
        Some((description.version.clone(), description.state_version))
    }

    /// Finds the command that a caller means: `command` of `plugin`, `plugin.command`, or a
    /// command's name alone where only one plugin has it. Case does not matter.
    pub(crate) fn resolve(
        &self,
        plugin: Option<&str>,
        command: &str,
    ) -> Result<&Target, Rejection> {
        let lowercase = |name: &str| !name.bytes().any(|byte| byte.is_ascii_uppercase());
        if lowercase(command) && plugin.is_none_or(lowercase) {
            return self.resolve_lowercase(plugin, command);
        }
        let plugin = plugin.map(str::to_ascii_lowercase);
        self.resolve_lowercase(plugin.as_deref(), &command.to_ascii_lowercase())
    }

    fn resolve_lowercase(&self, plugin: Option<&str>, command: &str) -> Result<&Target, Rejection> {
        let (plugin, command) = match (plugin, command.split_once('.')) {
            (None, Some((plugin, command))) => (Some(plugin), command),
            _ => (plugin, command),
        };
        let unknown = |message: String| Rejection::new(RejectionCode::UnknownCommand, message);
        let targets = self.commands.get(command).map_or(&[][..], Vec::as_slice);
        if let Some(name) = plugin {
            if !self.plugins.contains_key(name) {
                return Err(unknown(format!("no plugin is named '{name}'")));
            }
            return targets
                .iter()
                .find(|target| *target.installed.name == *name)
                .ok_or_else(|| unknown(format!("unknown command '{command}' of plugin '{name}'")));
        }
        match targets {
            [] => Err(unknown(format!("unknown command '{command}'"))),
            [target] => Ok(target),
            several => {
                let mut names: Vec<String> = several
                    .iter()
                    .map(|target| format!("{}.{command}", target.installed.name))
                    .collect();
                names.sort_unstable();
                Err(unknown(format!(
                    "several plugins have '{command}'; say {}",
                    names.join(" or ")
                )))
            }
        }
    }
}
