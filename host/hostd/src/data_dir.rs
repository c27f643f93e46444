//! A node's directory: one process at a time, and two database files.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use hostd_protocol::NodeId;
use hostd_replica::LOG_FILE;

use crate::node::StartError;
use crate::recover::RECOVERING_FILE;

/// The state database's file name.
pub(crate) use hostd_replica::STATE_FILE;
/// Where snapshots are kept.
pub(crate) const SNAPSHOT_DIRECTORY: &str = "snapshots";
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
        finish_move(&path).map_err(fail)?;
        hostd_replica::create_private(&path).map_err(fail)?;
        std::fs::create_dir_all(path.join(SPOOL_DIRECTORY)).map_err(fail)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join("lock"))
            .map_err(fail)?;
        match lock.try_lock() {
            Ok(()) => {
                hostd_replica::finish_restore(&path).map_err(fail)?;
                Ok(Self { path, _lock: lock })
            }
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

    /// Whether neither database is there.
    pub(crate) fn is_empty(&self) -> bool {
        ![STATE_FILE, LOG_FILE]
            .iter()
            .any(|name| self.file(name).exists())
    }

    /// Where the directory is made that takes this one's place.
    pub(crate) fn successor(&self) -> PathBuf {
        successor(&self.path)
    }

    /// Where this directory is moved to when it is set aside for the nth time.
    pub(crate) fn set_aside(&self, number: u64) -> PathBuf {
        self.path.with_extension(format!("set-aside-{number}"))
    }
}

fn successor(path: &Path) -> PathBuf {
    path.with_extension("new")
}

/// The old directory was moved and the new one was not: without it this node would begin as if it
/// had never been there.
fn finish_move(path: &Path) -> io::Result<()> {
    let successor = successor(path);
    if !path.try_exists()? && successor.join(RECOVERING_FILE).try_exists()? {
        std::fs::rename(successor, path)?;
    }
    Ok(())
}
