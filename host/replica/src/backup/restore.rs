//! A snapshot becomes the first node of another cluster.
//!
//! Its files are made in a directory of their own and moved once all are on disk, so that a node's
//! directory has all of them or none, whenever this is interrupted.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

use hostd_machine::{Engine, InstallError};
use hostd_protocol::{NodeId, codec};

use super::{SnapshotError, SnapshotFile, SnapshotHeader};
use crate::apply::position_log_id;
use crate::log_file::{FileBackend, LOG_FILE, LogDisk, MARK_FILE, STATE_FILE, open_database};
use crate::log_store::{Change, Fact, LogDatabase};
use crate::types::{GROUP, Membership, Node, Nodes, Standing, StoredMembership, Vote};

/// Files that are being made.
const STAGING: &str = "restoring";
/// Files that are complete, on their way to where they belong.
const STAGED: &str = "restored";

/// How much the state's file grows at once.
const STATE_GROWTH_BYTES: u64 = 1 << 20;

/// Who the new cluster is.
#[derive(Clone, Debug)]
pub struct Restoration {
    /// Number of its only node.
    pub node: NodeId,
    /// `host:port` that others dial. A node that listens elsewhere corrects it.
    pub address: String,
    /// The cluster's identity, which nobody else has.
    pub cluster: String,
    /// Random number of the node's directory.
    pub incarnation: u64,
}

/// Makes the files of a node in `directory` that begins with the state of a snapshot, alone.
///
/// # Errors
/// [`SnapshotError::Occupied`] where there is a node's data; [`SnapshotError::Damaged`] when the
/// snapshot is not what was written. Nothing is changed then.
pub fn restore(
    snapshot: SnapshotFile,
    directory: &Path,
    engine: Arc<Engine>,
    restoration: &Restoration,
) -> Result<SnapshotHeader, SnapshotError> {
    let io = |error: io::Error| SnapshotError::io("write", directory)(error);
    finish_restore(directory).map_err(io)?;
    if [STATE_FILE, LOG_FILE, MARK_FILE]
        .iter()
        .any(|name| directory.join(name).exists())
    {
        return Err(SnapshotError::Occupied(directory.to_owned()));
    }
    let staging = directory.join(STAGING);
    remove(&staging).map_err(io)?;
    fs::create_dir_all(&staging).map_err(io)?;
    let made = || -> Result<SnapshotHeader, SnapshotError> {
        let state =
            open_database(&staging.join(STATE_FILE), true, STATE_GROWTH_BYTES).map_err(io)?;
        let log = LogDisk::open(&staging, true).map_err(io)?;
        restore_into(snapshot, state, log, engine, restoration)
    };
    let made = made();
    let moved = match &made {
        Ok(_) => File::open(&staging)
            .and_then(|made| made.sync_all())
            .and_then(|()| fs::rename(&staging, directory.join(STAGED)))
            .and_then(|()| finish_restore(directory)),
        Err(_) => remove(&staging),
    };
    let header = made?;
    moved.map_err(io)?;
    Ok(header)
}

/// Moves the files of a restoration that was complete when it was interrupted.
pub fn finish_restore(directory: &Path) -> io::Result<()> {
    let staged = directory.join(STAGED);
    if !staged.try_exists()? {
        return Ok(());
    }
    for name in [MARK_FILE, LOG_FILE, STATE_FILE] {
        match fs::rename(staged.join(name), directory.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    File::open(directory)?.sync_all()?;
    remove(&staged)
}

fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// As [`restore`], with files that are of no use after an error.
fn restore_into(
    snapshot: SnapshotFile,
    state: FileBackend,
    log: LogDisk,
    engine: Arc<Engine>,
    restoration: &Restoration,
) -> Result<SnapshotHeader, SnapshotError> {
    let (path, header) = (snapshot.path().to_owned(), snapshot.header().clone());
    let position = header.position();
    let log_id = position_log_id(position);
    let node = Node {
        address: restoration.address.clone(),
        incarnation: restoration.incarnation,
        standing: Standing::Voter,
    };
    let membership = Membership::new(
        vec![BTreeSet::from([restoration.node])],
        Nodes::from([(restoration.node, node)]),
    )
    .map_err(|error| SnapshotError::io("restore", &path)(io::Error::other(error)))?;
    let membership = codec::encode(&StoredMembership::new(Some(log_id), membership));
    hostd_machine::restore(
        engine,
        state,
        position,
        snapshot.chunks(),
        &restoration.cluster,
        &membership,
    )
    .map_err(|source| match source {
        InstallError::Fault(fault) => SnapshotError::io("restore", &path)(io::Error::other(fault)),
        source => SnapshotError::Damaged {
            path: path.clone(),
            source,
        },
    })?;
    let log = LogDatabase::open(log, restoration.node, || restoration.incarnation)
        .map_err(|error| SnapshotError::io("restore", &path)(io::Error::other(error)))?;
    // A log of which everything up to the snapshot is purged, and a term that no other leader of it
    // had: the node stands for the next.
    log.commit(vec![
        Change::Vote {
            group: GROUP,
            vote: Vote::new(position.term, restoration.node),
        },
        Change::Purge {
            group: GROUP,
            purged: log_id,
        },
        Change::Committed {
            group: GROUP,
            committed: Some(log_id),
        },
        Change::Note {
            group: GROUP,
            fact: Fact::Joined,
            on: true,
        },
    ])
    .map_err(SnapshotError::io("restore", &path))?;
    Ok(header)
}
