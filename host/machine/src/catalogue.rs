//! The plugins of a cluster and the names by which their commands are called.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use hostd_protocol::{CommandDescription, PluginDescription, Rejection, RejectionCode};
use serde::{Deserialize, Serialize};

use crate::Fault;
use crate::plugin::{CompileError, Plugin};
use crate::query::QueryInstance;
use crate::store::Span;
use crate::store::{Layers, Table, Writes};
use crate::system::{decode, encode};
use crate::wasm::Engine;

/// A plugin's row in the state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: u32,
    pub(crate) digest: [u8; 32],
}

/// A plugin that is part of the cluster.
pub(crate) struct Installed {
    pub(crate) id: u32,
    pub(crate) name: Arc<str>,
    pub(crate) plugin: Arc<Plugin>,
    /// Idle instances for queries.
    pub(crate) idle: Mutex<Vec<QueryInstance>>,
}

/// All installed plugins. Shared by the machine and every view; replaced when it changes.
#[derive(Clone, Default)]
pub struct Catalogue {
    plugins: BTreeMap<Arc<str>, Arc<Installed>>,
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

impl Catalogue {
    /// Compiles every plugin that the state has.
    pub(crate) fn load(engine: &Engine, layers: &Layers) -> Result<Self, Fault> {
        let none = Writes::new();
        let (start, end) = Table::Catalogue.bounds();
        let mut catalogue = Self::default();
        for item in layers.scan(&none, Span::new(&start, &end))? {
            let record: Record = decode(&item?.1.value)?;
            let component = layers
                .get_with(&none, &Table::Component.key(&[&record.digest]))?
                .ok_or_else(|| Fault::Corrupt("a plugin's component is missing".into()))?;
            let plugin = engine.compile(&component).map_err(|error| match error {
                CompileError::Plugin(error) => Fault::Engine(format!(
                    "an installed plugin does not compile here: {error}"
                )),
                CompileError::Fault(fault) => fault,
            })?;
            catalogue.insert(record.id, plugin);
        }
        Ok(catalogue)
    }

    /// The rows that make `plugin` part of the state under the number `id`.
    pub(crate) fn rows(id: u32, plugin: &Plugin, component: &[u8]) -> Writes {
        let record = Record {
            id,
            digest: plugin.digest(),
        };
        let name = plugin.description().name.as_bytes();
        Writes::from([
            (Table::Catalogue.key(&[name]), Some(encode(&record).into())),
            (
                Table::Component.key(&[&record.digest]),
                Some(component.into()),
            ),
        ])
    }

    pub(crate) fn insert(&mut self, id: u32, plugin: Arc<Plugin>) {
        let name: Arc<str> = plugin.description().name.as_str().into();
        let installed = Arc::new(Installed {
            id,
            name: Arc::clone(&name),
            plugin,
            idle: Mutex::new(Vec::new()),
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

    /// Name, description and digest of every plugin, sorted by name.
    pub fn plugins(&self) -> impl Iterator<Item = (&PluginDescription, [u8; 32])> {
        self.plugins
            .values()
            .map(|installed| (installed.plugin.description(), installed.plugin.digest()))
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
