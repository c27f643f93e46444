//! The plugin files that a node was given, and their way into the cluster.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hostd_machine::{Engine, Plugin};
use hostd_protocol::{Command, Outcome, RejectionCode};
use hostd_replica::Replica;
use tokio::time::Instant;

use crate::config::ConfigError;
use crate::options::read_plugin;

/// How long one attempt to install may take before it is tried again.
const ATTEMPT: Duration = Duration::from_secs(5);

/// A plugin file, validated and compiled before the node opens anything.
#[derive(Clone)]
pub struct PluginFile {
    path: PathBuf,
    component: Vec<u8>,
    plugin: Arc<Plugin>,
}

/// Reads and compiles every file, so that a bad one is reported before anything starts.
pub fn load(engine: &Engine, paths: &[PathBuf]) -> Result<Vec<PluginFile>, ConfigError> {
    paths
        .iter()
        .map(|path| {
            let bad = |error: &dyn std::fmt::Display| ConfigError::Plugin {
                path: path.clone(),
                detail: error.to_string(),
            };
            let file = read_plugin(path)?;
            let limit = hostd_protocol::Limits::default().component_bytes_max;
            if file.len() as u64 > limit {
                return Err(bad(&format!(
                    "{} bytes; a component may have {limit}",
                    file.len()
                )));
            }
            let component = Plugin::component_bytes(&file).map_err(|error| bad(&error))?;
            let plugin = engine.compile(&component).map_err(|error| bad(&error))?;
            Ok(PluginFile {
                path: path.clone(),
                component,
                plugin,
            })
        })
        .collect()
}

/// Installs what the cluster lacks. Waits until the cluster can take it.
pub(crate) async fn install(replica: &Replica, files: Vec<PluginFile>) {
    for file in files {
        while !try_install(replica, &file).await {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// Whether the matter is settled.
async fn try_install(replica: &Replica, file: &PluginFile) -> bool {
    let name = &file.plugin.description().name;
    let version = &file.plugin.description().version;
    let digest = file.plugin.digest();
    // A node that is up to date can tell without asking the cluster to write anything.
    let _ = replica.read_barrier(Instant::now() + ATTEMPT).await;
    let view = replica.views().latest();
    let installed = view
        .catalogue()
        .plugins()
        .find(|(description, _)| description.name == *name);
    if let Some((_, present)) = installed {
        if present != digest {
            another_version(name, file);
        }
        return true;
    }
    let command = Command::Install {
        principal: "hostd".into(),
        component: file.component.clone(),
    };
    let outcome: Outcome = match replica.write(command, Instant::now() + ATTEMPT).await {
        Ok(outcome) => outcome,
        Err(failure) => {
            tracing::info!(plugin = name, %failure, "the plugin is not installed yet; trying again");
            return false;
        }
    };
    match outcome {
        Ok(_) => tracing::info!(plugin = name, version, "plugin installed"),
        Err(rejection) if matches!(rejection.code, RejectionCode::Rejected(_)) => {
            another_version(name, file);
        }
        Err(rejection) => {
            tracing::error!(plugin = name, file = %file.path.display(), %rejection, "the cluster refused the plugin");
        }
    }
    true
}

fn another_version(name: &str, file: &PluginFile) {
    let path = file.path.display();
    tracing::warn!(
        plugin = name,
        "the cluster runs another version of this plugin, and goes on running it; to replace it: hostctl \
         plugin upgrade {path}"
    );
}
