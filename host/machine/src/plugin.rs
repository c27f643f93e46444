//! A compiled plugin, and everything that can be wrong with one.

use hostd_protocol::{PluginDescription, codec};
use thiserror::Error;
use wasmtime::component::{Component, InstancePre};
use wit_component::ComponentEncoder;

use crate::wasm::{Engine, HostState, Stop, ask_watched, describe, own_failure};
use crate::watched::Parts;
use crate::{Fault, compile_cost, imports};

/// Bounds for the code that runs while a plugin is looked at, before it is part of a cluster.
pub(crate) const DESCRIBE_FUEL: u64 = 50_000_000;
pub(crate) const DESCRIBE_MEMORY_BYTES: u64 = 64 << 20;

/// Commands that one plugin may have, and the size of its whole description.
const COMMANDS_MAX: usize = 1_000;
const DESCRIPTION_BYTES_MAX: usize = 1 << 20;

const EXPORTS: [&str; 6] = [
    "describe",
    "apply",
    "query",
    "wake",
    "migrate",
    "migrate-key",
];

/// A validated and compiled component.
pub struct Plugin {
    digest: [u8; 32],
    description: PluginDescription,
    watched: Parts,
    pub(crate) instance: InstancePre<HostState>,
}

/// What is wrong with a component.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PluginError {
    /// There are no bytes.
    #[error("the file is empty")]
    Empty,
    /// The bytes are something else.
    #[error("not WebAssembly: the file does not start with \\0asm")]
    NotWebAssembly,
    /// The bytes start as WebAssembly and then do not hold.
    #[error("not valid WebAssembly (truncated or damaged?): {0}")]
    Invalid(String),
    /// A core module that was not made for the world.
    #[error(
        "a core module without the metadata of hostd's world; build it with hostd-sdk, or hand in a component: {0}"
    )]
    CoreModule(String),
    /// The component asks for what the world lacks.
    #[error("the component imports `{name}`, which hostd does not provide; it provides {provided}")]
    UnknownImport {
        /// The import's name.
        name: String,
        /// What can be imported.
        provided: String,
    },
    /// The component is of another world.
    #[error(
        "the component does not export `{0}`: it was made for another world than hostd:plugin/plugin"
    )]
    MissingExport(&'static str),
    /// Names fit but types do not.
    #[error("an import or export has other types than hostd:plugin/plugin: {0}")]
    WrongTypes(String),
    /// The component does not run, or describes itself in a way that cannot be used.
    #[error("the plugin's description cannot be used: {0}")]
    Description(String),
    /// It needs more than this build can give any plugin.
    #[error("the component needs more than a plugin may have: {0}")]
    Resources(String),
}

/// Why a component was not compiled.
#[derive(Debug, Error)]
pub enum CompileError {
    /// The component is no plugin, on every node alike.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// This node could not do it.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl CompileError {
    /// Blames this node where wasmtime's error is its own, else the component.
    fn sort(error: wasmtime::Error, blame: fn(String) -> PluginError) -> Self {
        match own_failure(&error) {
            Some(fault) => Self::Fault(fault),
            None => Self::Plugin(blame(format!("{error:#}"))),
        }
    }
}

impl PluginError {
    /// The part that does not depend on a library's wording, fit for a replicated outcome.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            PluginError::Empty | PluginError::NotWebAssembly | PluginError::Invalid(_) => {
                "not a WebAssembly component"
            }
            PluginError::CoreModule(_) => "a core module, not a component",
            PluginError::UnknownImport { .. } => {
                "the component imports what hostd does not provide"
            }
            PluginError::MissingExport(_) | PluginError::WrongTypes(_) => {
                "the component was made for another world"
            }
            PluginError::Description(_) => "the plugin's description cannot be used",
            PluginError::Resources(_) => "the component needs more than a plugin may have",
        }
    }
}

impl Plugin {
    /// Turns a file's bytes into a component's: a component stays as it is, a core module with
    /// the world's metadata is wrapped.
    pub fn component_bytes(file: &[u8]) -> Result<Vec<u8>, PluginError> {
        if file.is_empty() {
            return Err(PluginError::Empty);
        }
        if !file.starts_with(b"\0asm") {
            return Err(PluginError::NotWebAssembly);
        }
        if wasmparser::Parser::is_core_wasm(file) {
            wasmparser::validate(file).map_err(|error| PluginError::Invalid(error.to_string()))?;
            let encode = || {
                ComponentEncoder::default()
                    .module(file)?
                    .validate(true)
                    .encode()
            };
            return encode().map_err(|error| PluginError::CoreModule(format!("{error:#}")));
        }
        wasmparser::validate(file).map_err(|error| PluginError::Invalid(error.to_string()))?;
        Ok(file.to_vec())
    }

    pub(crate) fn compile(
        engine: &Engine,
        component: &[u8],
        digest: [u8; 32],
    ) -> Result<Self, CompileError> {
        let component = Self::component_bytes(component)?;
        compile_cost::check(&component)?;
        let component = Component::from_binary(&engine.wasmtime, &component)
            .map_err(|error| CompileError::sort(error, PluginError::Resources))?;
        first(name_problems(engine, &component))?;
        let instance = engine
            .linker
            .instantiate_pre(&component)
            .map_err(|error| CompileError::sort(error, PluginError::WrongTypes))?;
        let description = describe(engine, &instance, DESCRIBE_MEMORY_BYTES, DESCRIBE_FUEL)
            .map_err(|stop| match stop {
                Stop::Rejected(rejection) => PluginError::Description(rejection.to_string()).into(),
                Stop::Fault(fault) => CompileError::Fault(fault),
            })?;
        first(description_problems(&description))?;
        // Nothing that is replicated depends on it, so what cannot be used is no reason to refuse.
        let watched = ask_watched(engine, &instance, DESCRIBE_MEMORY_BYTES, DESCRIBE_FUEL)?
            .unwrap_or_else(|reason| {
                let plugin = &description.name;
                tracing::warn!(%plugin, reason, "nothing of the plugin's state can be watched");
                Parts::default()
            });
        Ok(Self {
            digest,
            description,
            watched,
            instance,
        })
    }

    /// BLAKE3 of the component.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Which parts of its state are shown to watchers.
    pub(crate) fn watched(&self) -> &Parts {
        &self.watched
    }

    /// What the plugin says about itself.
    pub fn description(&self) -> &PluginDescription {
        &self.description
    }
}

/// A component is refused for the first thing that is wrong with it.
fn first(problems: Vec<PluginError>) -> Result<(), PluginError> {
    problems.into_iter().next().map_or(Ok(()), Err)
}

/// Every import that hostd does not provide, and every export that is missing.
pub(crate) fn name_problems(engine: &Engine, component: &Component) -> Vec<PluginError> {
    let component_type = component.component_type();
    let unknown = component_type
        .imports(&engine.wasmtime)
        .filter(|(name, _)| !imports::INTERFACES.contains(name))
        .map(|(name, _)| PluginError::UnknownImport {
            name: name.to_owned(),
            provided: imports::INTERFACES.join(", "),
        });
    let exports: Vec<&str> = component_type
        .exports(&engine.wasmtime)
        .map(|(name, _)| name)
        .collect();
    let missing = EXPORTS
        .into_iter()
        .filter(|name| !exports.contains(name))
        .map(PluginError::MissingExport);
    unknown.chain(missing).collect()
}

/// Everything in a description that cannot be used.
pub(crate) fn description_problems(description: &PluginDescription) -> Vec<PluginError> {
    let mut problems = Vec::new();
    if !is_name(&description.name) {
        problems.push(format!(
            "the name {:?} is not a lowercase letter followed by lowercase letters, digits and dashes",
            description.name
        ));
    }
    if description.commands.len() > COMMANDS_MAX {
        problems.push(format!("more than {COMMANDS_MAX} commands"));
    }
    if codec::encode(description).len() > DESCRIPTION_BYTES_MAX {
        problems.push(format!("larger than {DESCRIPTION_BYTES_MAX} bytes"));
    }
    let mut names: Vec<&str> = description
        .commands
        .iter()
        .map(|command| command.name.as_str())
        .collect();
    names.sort_unstable();
    let bad_names = names.iter().filter(|name| !is_name(name));
    problems.extend(bad_names.map(|name| {
        format!("the command name {name:?} is not lowercase letters, digits and dashes")
    }));
    let mut twice: Vec<&str> = names
        .windows(2)
        .filter(|pair| pair[0] == pair[1])
        .map(|pair| pair[0])
        .collect();
    twice.dedup();
    problems.extend(
        twice
            .iter()
            .map(|name| format!("two commands are named {name:?}")),
    );
    problems.into_iter().map(PluginError::Description).collect()
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_lowercase())
        && bytes.all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_'
        })
        && name.len() <= 64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_has_a_size_limit() {
        let description = |summary_bytes| PluginDescription {
            name: "large".into(),
            version: "1".into(),
            summary: "s".repeat(summary_bytes),
            state_version: 1,
            reads_state_versions: vec![],
            migrates_state_versions: vec![],
            migrates_by_key: false,
            commands: vec![],
        };
        assert_eq!(description_problems(&description(1_000_000)), []);
        assert_eq!(description_problems(&description(2_000_000)).len(), 1);
    }
}
