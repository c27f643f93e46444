//! What can be changed about the cluster's plugins, and how they are shown.

use serde::{Deserialize, Serialize};

use crate::{PluginDescription, Reply, TimeNs};

/// Size of the pieces in which a component is uploaded.
pub const UPLOAD_CHUNK_BYTES: usize = 256 << 10;

/// A change of the plugins or of limits. Each is a log entry, and does nothing when repeated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PluginChange {
    /// A piece of a component. Its outcome is how many bytes the cluster has by now, which is
    /// where to go on.
    Upload {
        /// BLAKE3 of the whole component.
        digest: [u8; 32],
        /// Size of the whole component.
        total: u64,
        /// Where this piece begins.
        offset: u64,
        /// The piece.
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    /// Makes an uploaded component, or a kept version, the one that runs. Its outcome is a map
    /// that says what happened.
    Activate {
        /// BLAKE3 of the component.
        digest: [u8; 32],
        /// Whether it may take the place of another version. `false` for a first installation.
        replace: bool,
    },
    /// Takes a plugin away.
    Remove {
        /// The plugin's name.
        plugin: String,
        /// Its state too. Otherwise the state is there again when the plugin is installed again.
        purge: bool,
    },
    /// Forgets a kept version that does not run.
    Forget {
        /// The plugin's name.
        plugin: String,
        /// BLAKE3 of the version's component.
        digest: [u8; 32],
    },
    /// Sets limits.
    Limit {
        /// For this plugin alone; for the cluster when `None`.
        plugin: Option<String>,
        /// Names with their values; `None` gives a plugin the cluster's value again, and the
        /// cluster the default.
        values: Vec<(String, Option<u64>)>,
    },
    /// Lets go of an upload that no plugin is made of.
    Discard {
        /// The digest that it came under.
        digest: [u8; 32],
    },
}

/// What became of an activation. Its reply is a map, so that clients of any kind can read it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Activated {
    /// `installed`, `upgraded`, `rolled-back`, `migrating`, `unchanged`.
    pub result: String,
    /// The plugin's name.
    pub plugin: String,
    /// The version that runs, or that the state is migrated to.
    pub version: String,
    /// Its commands whose bare names another plugin has too.
    pub shared: Vec<String>,
}

impl From<Activated> for Reply {
    fn from(activated: Activated) -> Self {
        let Activated {
            result,
            plugin,
            version,
            shared,
        } = activated;
        let text = |name: &str| Self::Text(name.to_owned());
        let mut pairs = vec![
            (text("result"), Self::Text(result)),
            (text("plugin"), Self::Text(plugin)),
            (text("version"), Self::Text(version)),
        ];
        if !shared.is_empty() {
            let names = shared.into_iter().map(Self::Text).collect();
            pairs.push((text("shared"), Self::Array(names)));
        }
        Self::Map(pairs)
    }
}

/// What is missing stays empty.
impl From<&Reply> for Activated {
    fn from(reply: &Reply) -> Self {
        let mut activated = Self::default();
        let Reply::Map(pairs) = reply else {
            return activated;
        };
        for pair in pairs {
            match pair {
                (Reply::Text(name), Reply::Text(value)) => match name.as_str() {
                    "result" => activated.result.clone_from(value),
                    "plugin" => activated.plugin.clone_from(value),
                    "version" => activated.version.clone_from(value),
                    _ => {}
                },
                (Reply::Text(name), Reply::Array(names)) if name == "shared" => {
                    let names = names.iter().filter_map(|name| match name {
                        Reply::Text(name) => Some(name.clone()),
                        _ => None,
                    });
                    activated.shared = names.collect();
                }
                _ => {}
            }
        }
        activated
    }
}

/// A plugin as `hostctl plugin show` has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginInfo {
    /// The plugin's name.
    pub name: String,
    /// What the version that runs says about itself; `None` when the plugin was removed and its
    /// state kept.
    pub description: Option<PluginDescription>,
    /// BLAKE3 of the component that runs, in hexadecimal.
    pub digest: Option<String>,
    /// The layout that the state has.
    pub state_version: u32,
    /// Keys in the state.
    pub keys: u64,
    /// Size of keys and values.
    pub data_bytes: u64,
    /// Timers that are set.
    pub timers: u64,
    /// Versions that are kept, the oldest first; the one that runs is one of them.
    pub versions: Vec<VersionInfo>,
    /// Limits that this plugin has for itself, by name.
    pub limits: Vec<(String, u64)>,
    /// The migration that is going on.
    pub migration: Option<MigrationInfo>,
    /// The last migration that failed, and why, until the next change.
    pub failed: Option<FailedMigration>,
}

/// A version that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionInfo {
    /// BLAKE3 of its component, in hexadecimal.
    pub digest: String,
    /// What it calls itself.
    pub version: String,
    /// The layout of the state that it writes.
    pub state_version: u32,
    /// Log index of the entry that activated it last.
    pub index: u64,
    /// When that was.
    pub time: TimeNs,
    /// Who asked for it.
    pub principal: String,
    /// Whether it runs.
    pub active: bool,
}

/// A migration that is going on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigrationInfo {
    /// BLAKE3 of the component that is migrated to, in hexadecimal.
    pub to: String,
    /// Its version.
    pub version: String,
    /// Whether calls that write wait until it is over.
    pub writes_wait: bool,
    /// Keys of the old state that have been dealt with.
    pub keys: u64,
    /// When it began.
    pub since: TimeNs,
}

/// A migration that failed; the old version goes on running.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedMigration {
    /// BLAKE3 of the component that was migrated to, in hexadecimal.
    pub to: String,
    /// Its version.
    pub version: String,
    /// Why, for people.
    pub reason: String,
    /// Keys of the old state that had been dealt with.
    pub keys: u64,
    /// When it failed.
    pub time: TimeNs,
}
