//! Snapshots that people take, keep and restore.

use serde::{Deserialize, Serialize};

use crate::TimeNs;

/// The most bytes that one [`SnapshotRequest::Read`] gets.
pub const SNAPSHOT_PIECE_BYTES_MAX: u64 = 1 << 20;

/// What is asked about the snapshots that the answering node keeps: each node has its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SnapshotRequest {
    /// Take one of the state as it is now, and keep it. Refused with `overloaded`, and a message that
    /// begins with [`SNAPSHOT_IN_PROGRESS`], while one is being taken; with `invalid_argument` and
    /// [`NOTHING_NEW_TO_SNAPSHOT`] when the newest one is of this very state. Answered by
    /// [`crate::Response::Snapshots`] with that one.
    Now {
        /// How long the node may take, in milliseconds.
        timeout_ms: u32,
    },
    /// Those that are kept. Answered by [`crate::Response::Snapshots`], oldest first.
    List,
    /// A part of one's file. Answered by [`crate::Response::SnapshotPiece`], which ends where the file
    /// does, and after [`SNAPSHOT_PIECE_BYTES_MAX`].
    Read {
        /// Its id.
        id: String,
        /// First byte.
        from: u64,
        /// The byte after the last.
        to: u64,
    },
}

/// How the message begins while a snapshot is being taken.
pub const SNAPSHOT_IN_PROGRESS: &str = "in progress";

/// How the message begins when there is nothing that the newest snapshot lacks.
pub const NOTHING_NEW_TO_SNAPSHOT: &str = "nothing new to snapshot";

/// How the message begins when no snapshot has an id.
pub const NO_SUCH_SNAPSHOT: &str = "no such snapshot";

/// A snapshot in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotInfo {
    /// Its name: `TERM-INDEX-MILLISECONDS`.
    pub id: String,
    /// The file, as the node that has it names it.
    pub file: String,
    /// Size of the file.
    pub size_bytes: u64,
    /// When it was taken, by the wall clock of the node that took it.
    pub time: TimeNs,
    /// Identity of the cluster.
    pub cluster: String,
    /// Term of the last entry in it.
    pub term: u64,
    /// Log index of the last entry in it.
    pub index: u64,
    /// Digest of the state, as `status` shows it at that checkpoint.
    pub digest: [u8; 32],
}
