//! The failures that belong to this node alone.

use thiserror::Error;

/// This node cannot go on: its disk failed, its memory ran out, its file is damaged.
///
/// A fault stops apply on this node and is never part of a replicated outcome. No plugin can
/// cause one.
#[derive(Debug, Error)]
pub enum Fault {
    /// The state database could not be read or written.
    #[error("state database: {0}")]
    Storage(String),
    /// A row on disk does not have the checksum it was written with.
    #[error("the state database is damaged: {0}")]
    Corrupt(String),
    /// The host has no room for another plugin instance, or no memory for this one. From a query:
    /// too many run at once.
    #[error("no room for a plugin instance: {0}")]
    Instances(String),
    /// The log asks for an engine that this build is not.
    #[error("this node cannot apply the cluster's log: {0}")]
    Engine(String),
    /// The caller broke the contract of [`crate::Machine`].
    #[error("machine used out of order: {0}")]
    Misuse(String),
}

/// Why a state database could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The file is not what was written: truncated, altered, or not a database.
    #[error("damaged: {0}")]
    Corrupt(String),
    /// A newer hostd wrote it.
    #[error("written in format {found}; this version of hostd reads up to format {known}")]
    NewerFormat {
        /// The format in the file.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
    /// The disk failed, or the file is in use.
    #[error("{0}")]
    Storage(String),
    /// The state is sound, but this build may not apply it.
    #[error(transparent)]
    Fault(#[from] Fault),
}

macro_rules! storage_fault {
    ($($error:ty),*) => {$(
        impl From<$error> for Fault {
            fn from(error: $error) -> Self {
                Fault::Storage(error.to_string())
            }
        }
    )*};
}
storage_fault!(
    redb::StorageError,
    redb::TableError,
    redb::TransactionError,
    redb::CommitError,
    redb::SetDurabilityError
);
