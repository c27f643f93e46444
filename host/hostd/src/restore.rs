//! `--restore`: a node that begins a new cluster with the state of a snapshot.

use std::net::SocketAddr;
use std::sync::Arc;

use hostd_machine::Engine;
use hostd_replica::{Restoration, SnapshotError, SnapshotFile};

use crate::config::{Config, ConfigError};
use crate::data_dir::DataDir;
use crate::ground::system_entropy;
use crate::node::StartError;
use crate::replication::new_cluster_id;

/// Reads all of the snapshot that is to be restored, before anything is made.
pub(crate) fn check(config: &Config) -> Result<(), StartError> {
    let Some(file) = &config.restore else {
        return Ok(());
    };
    let checked = SnapshotFile::open(file).and_then(SnapshotFile::check);
    checked.map(drop).map_err(refusal)
}

/// Makes the node's files where a snapshot is to be restored.
pub(crate) fn restore(
    config: &Config,
    data: &DataDir,
    engine: &Arc<Engine>,
    listening: SocketAddr,
) -> Result<(), StartError> {
    let Some(file) = &config.restore else {
        return Ok(());
    };
    let entropy = system_entropy();
    let mut incarnation = [0; 8];
    entropy(&mut incarnation);
    let restoration = Restoration {
        node: config.node_id,
        address: config.address(listening),
        cluster: new_cluster_id(&entropy),
        incarnation: u64::from_le_bytes(incarnation),
    };
    let header = SnapshotFile::open(file)
        .and_then(|snapshot| {
            hostd_replica::restore(snapshot, data.path(), Arc::clone(engine), &restoration)
        })
        .map_err(refusal)?;
    tracing::info!(
        from = header.cluster,
        index = header.index,
        cluster = restoration.cluster,
        "restored a snapshot: this node begins a new cluster"
    );
    Ok(())
}

fn refusal(error: SnapshotError) -> StartError {
    match error {
        error if error.is_missing() => StartError::Config(ConfigError::Flag {
            flag: "--restore",
            detail: error.to_string(),
        }),
        SnapshotError::Io { .. } => StartError::Fault(format!("--restore: {error}")),
        _ => StartError::Config(ConfigError::Flag {
            flag: "--restore",
            detail: error.to_string(),
        }),
    }
}
