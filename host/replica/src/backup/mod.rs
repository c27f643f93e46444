//! Snapshots for people: a durable checkpoint in a file that can be carried away, checked, and made
//! the beginning of another cluster.
//!
//! `format` is the file, `kept` the directory of those that a node keeps, `take` how one comes to be,
//! `restore` what becomes of it. None of it knows who asks.

mod format;
mod kept;
mod restore;
mod take;

use std::io;
use std::path::PathBuf;

use hostd_machine::InstallError;
use thiserror::Error;

pub use format::{Checked, SnapshotFile, SnapshotHeader};
pub(crate) use kept::Kept;
pub use restore::{Restoration, finish_restore, restore};

/// Why a snapshot's file was not written, read or restored.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// A file or directory could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// Something else than a snapshot.
    #[error("{}: this is not a snapshot of hostd", .0.display())]
    NotASnapshot(PathBuf),
    /// A newer hostd wrote it.
    #[error("{}: it is in format {found}, and this hostd reads up to format {known}", path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest that this build knows.
        known: u32,
    },
    /// Truncated or altered.
    #[error("{}: {source}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: InstallError,
    },
    /// A node has data there.
    #[error(
        "{} holds a node's data already, and nothing was changed: restore to another --data, or start without --restore",
        .0.display()
    )]
    Occupied(PathBuf),
}

impl SnapshotError {
    /// Whether a file that somebody named is not there, or may not be read.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io { action: "read", source, .. } if matches!(
            source.kind(),
            io::ErrorKind::NotFound
                | io::ErrorKind::NotADirectory
                | io::ErrorKind::IsADirectory
                | io::ErrorKind::PermissionDenied
        ))
    }

    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}
