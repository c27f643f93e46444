//! The state of a snapshot as the beginning of another cluster: everything as it was, but for who the
//! cluster is and who its members are.

use std::io;
use std::sync::Arc;

use hostd_planted::{self as planted, Bug};
use redb::StorageBackend;

use crate::snapshot::read_rows;
use crate::store::{FlushJob, Revision, Row, StateDigest, Table};
use crate::system::{FOUNDING, Founding, MEMBERSHIP};
use crate::{Engine, Fault, InstallError, Machine, OpenError, Position};

/// What the rows of a snapshot came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotSum {
    /// How many there are.
    pub rows: u64,
    /// Digest of the state.
    pub digest: [u8; 32],
    /// Digest of all rows but those that say who the cluster and its members are: equal for a state
    /// and what was restored of it.
    pub contents: [u8; 32],
}

/// Reads a whole snapshot of the checkpoint at `expected`, and keeps nothing of it.
///
/// # Errors
/// [`InstallError::Damaged`] when the chunks are not exactly this one whole snapshot.
pub fn check_snapshot(
    expected: Position,
    chunks: impl Iterator<Item = io::Result<Vec<u8>>>,
) -> Result<SnapshotSum, InstallError> {
    let mut contents = StateDigest::default();
    let summed = read_rows(expected, chunks, |key, row| {
        if !is_of_the_cluster(key) {
            contents.add(&Row::decode(key, row)?.1);
        }
        Ok(())
    })?;
    Ok(SnapshotSum {
        rows: summed.rows,
        digest: summed.digest.to_bytes(),
        contents: contents.to_bytes(),
    })
}

/// Writes the state of a snapshot to an empty database, as that of a new cluster with these members.
/// The clock, the time of the founding, the rules and all else go on as they were.
///
/// # Errors
/// [`InstallError::Damaged`] when the chunks are not exactly the whole snapshot of the checkpoint at
/// `expected`. The database is of no use then.
pub fn restore(
    engine: Arc<Engine>,
    backend: impl StorageBackend,
    expected: Position,
    chunks: impl Iterator<Item = io::Result<Vec<u8>>>,
    cluster: &str,
    membership: &[u8],
) -> Result<(), InstallError> {
    let mut machine = Machine::open(engine, backend).map_err(|error| match error {
        OpenError::Fault(fault) => fault,
        other => Fault::Storage(other.to_string()),
    })?;
    machine.install(expected, chunks)?;
    machine.begin_anew(expected, cluster, membership)?;
    Ok(())
}

impl Machine {
    /// Changes whose state this is, at the checkpoint that it is of.
    fn begin_anew(
        &mut self,
        position: Position,
        cluster: &str,
        membership: &[u8],
    ) -> Result<(), Fault> {
        let founding = self.system.founding.as_deref().cloned();
        let founding = founding.ok_or_else(|| {
            Fault::Corrupt("the snapshot is of a cluster that was not founded".into())
        })?;
        let founding = Founding {
            cluster: cluster.to_owned(),
            ..founding
        };
        let revision = Revision {
            index: position.index,
            position: 0,
        };
        let digest = StateDigest::from_bytes(&self.durable().digest);
        let database = self.store.database();
        let layers = self.layers.as_mut().expect("no command is running");
        if planted::active(Bug::RestoreForgetsTime) {
            self.system.running.time = 0;
            self.system.save(layers, revision);
        }
        self.system.rename(founding, layers, revision);
        self.system.set_membership(membership, layers, revision);
        let job = FlushJob {
            database,
            changes: layers.freeze(),
            position,
            digest,
            // Nobody has watched this cluster.
            past: None,
        };
        job.run()?;
        Ok(())
    }
}

/// Whether a row says who the cluster is, or who its members are: what alone differs between a state
/// and what was restored of it.
fn is_of_the_cluster(key: &[u8]) -> bool {
    let system = |name: &[u8]| Table::System.key(&[name]);
    [FOUNDING, MEMBERSHIP]
        .iter()
        .any(|name| *system(name) == *key)
}
