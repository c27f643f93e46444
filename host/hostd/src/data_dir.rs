//! A node's directory: one process at a time, and two database files.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use hostd_protocol::NodeId;

use crate::node::StartError;

/// The state database's file name.
pub(crate) use hostd_replica::STATE_FILE;
/// Where snapshots are received.
pub(crate) const SPOOL_DIRECTORY: &str = "incoming";

/// An open data directory. The lock is held as long as this lives.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Creates or opens `data/node-N` and locks it.
    pub(crate) fn open(data: &Path, node: NodeId) -> Result<Self, StartError> {
        let path = data.join(format!("node-{node}"));
        let fail = |error: io::Error| StartError::DataDir {
            path: path.clone(),
            detail: error.to_string(),
        };
        std::fs::create_dir_all(path.join(SPOOL_DIRECTORY)).map_err(fail)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join("lock"))
            .map_err(fail)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StartError::DataInUse { path }),
            Err(TryLockError::Error(error)) => Err(fail(error)),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}
