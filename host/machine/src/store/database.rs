//! The state database: one redb file that is written at checkpoints only.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition,
};
use serde::{Deserialize, Serialize};

use super::{Base, Row, StateDigest};
use crate::{Fault, OpenError, Position, watched};

/// The format of the file. A newer one is refused.
const FORMAT: u32 = 1;

/// Memory that redb may use for cached pages.
const CACHE_BYTES: usize = 32 << 20;

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const ROWS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("rows");
/// Rows of a snapshot, until they take the place of [`ROWS`]. What is left of an installation that
/// did not end well stays until the next one.
const INCOMING: TableDefinition<&[u8], &[u8]> = TableDefinition::new("incoming");
const CHECKPOINT: &str = "checkpoint";

/// The one record beside the rows: which checkpoint they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    pub(crate) format: u32,
    /// The log entry whose application made it; `None` before the first.
    pub(crate) position: Option<Position>,
    /// Digest of all rows.
    pub(crate) digest: [u8; 32],
}

impl Checkpoint {
    pub(crate) fn new(position: Option<Position>, digest: StateDigest) -> Self {
        Self {
            format: FORMAT,
            position,
            digest: digest.to_bytes(),
        }
    }
}

/// An open state database.
pub(crate) struct Store {
    database: Arc<Database>,
}

impl Store {
    /// Opens or creates the database, and verifies every row against its checksum and all of
    /// them against the checkpoint's digest, so that a damaged file is refused and never served.
    pub(crate) fn open(backend: impl StorageBackend) -> Result<(Self, Checkpoint), OpenError> {
        // redb asserts on some damaged pages; for this file that means what an error means.
        std::panic::catch_unwind(AssertUnwindSafe(|| Self::open_checked(backend)))
            .unwrap_or_else(|_| Err(OpenError::Corrupt("its pages contradict each other".into())))
    }

    fn open_checked(backend: impl StorageBackend) -> Result<(Self, Checkpoint), OpenError> {
        let mut database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create_with_backend(backend)
            .map_err(open_error)?;
        if !database.check_integrity().map_err(open_error)? {
            tracing::info!("the state database was not closed; its page allocation was rebuilt");
        }
        let store = Self {
            database: Arc::new(database),
        };
        let checkpoint = match store.checkpoint()? {
            Some(checkpoint) => checkpoint,
            None => store.initialize()?,
        };
        if checkpoint.format > FORMAT {
            return Err(OpenError::NewerFormat {
                found: checkpoint.format,
                known: FORMAT,
            });
        }
        store.verify(&checkpoint)?;
        Ok((store, checkpoint))
    }

    /// Another handle to an open database.
    pub(crate) fn again(database: Arc<Database>) -> Self {
        Self { database }
    }

    pub(crate) fn database(&self) -> Arc<Database> {
        Arc::clone(&self.database)
    }

    /// The rows as of the last commit.
    pub(crate) fn base(&self) -> Result<Base, Fault> {
        base(&self.database)
    }

    fn checkpoint(&self) -> Result<Option<Checkpoint>, OpenError> {
        let read = || -> Result<Option<Checkpoint>, Fault> {
            let transaction = self.database.begin_read()?;
            let meta = match transaction.open_table(META) {
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
                other => other?,
            };
            let Some(bytes) = meta.get(CHECKPOINT)? else {
                return Ok(None);
            };
            // The format comes first, so that a newer file can be told apart from a damaged one.
            let (format, _) = postcard::take_from_bytes::<u32>(bytes.value())
                .map_err(|error| Fault::Corrupt(format!("checkpoint record: {error}")))?;
            if format > FORMAT {
                return Ok(Some(Checkpoint {
                    format,
                    position: None,
                    digest: [0; 32],
                }));
            }
            postcard::from_bytes(bytes.value())
                .map(Some)
                .map_err(|error| Fault::Corrupt(format!("checkpoint record: {error}")))
        };
        read().map_err(damage)
    }

    fn initialize(&self) -> Result<Checkpoint, OpenError> {
        let checkpoint = Checkpoint::new(None, StateDigest::default());
        let write = || -> Result<(), Fault> {
            let transaction = self.database.begin_write()?;
            transaction.open_table(ROWS)?;
            put_checkpoint(&transaction, &checkpoint)?;
            transaction.commit()?;
            Ok(())
        };
        write().map_err(damage)?;
        Ok(checkpoint)
    }

    fn verify(&self, checkpoint: &Checkpoint) -> Result<(), OpenError> {
        let sum = || -> Result<StateDigest, Fault> {
            let mut digest = StateDigest::default();
            for item in rows_table(&self.database)?.iter()? {
                let (key, bytes) = item?;
                digest.add(&Row::decode(key.value(), bytes.value())?.1);
            }
            Ok(digest)
        };
        let digest = sum().map_err(damage)?;
        if digest.to_bytes() == checkpoint.digest {
            Ok(())
        } else {
            Err(OpenError::Corrupt(
                "its rows do not add up to the digest it was written with".into(),
            ))
        }
    }
}

/// The rows as of the database's last commit.
pub(crate) fn base(database: &Database) -> Result<Base, Fault> {
    Ok(Base::new(rows_table(database)?))
}

/// The rows as of the database's last commit, and which checkpoint they are.
pub(crate) fn latest(database: &Database) -> Result<(Base, Checkpoint), Fault> {
    let transaction = database.begin_read()?;
    let checkpoint = {
        let meta = transaction.open_table(META)?;
        let bytes = meta
            .get(CHECKPOINT)?
            .ok_or_else(|| Fault::Corrupt("the checkpoint record is missing".into()))?;
        postcard::from_bytes(bytes.value())
            .map_err(|error| Fault::Corrupt(format!("checkpoint record: {error}")))?
    };
    Ok((Base::new(transaction.open_table(ROWS)?), checkpoint))
}

/// The table of rows as of the database's last commit.
pub(crate) fn rows_table(
    database: &Database,
) -> Result<redb::ReadOnlyTable<&'static [u8], &'static [u8]>, Fault> {
    Ok(database.begin_read()?.open_table(ROWS)?)
}

/// The table of rows, for writing.
pub(crate) fn rows_for_writing(
    transaction: &redb::WriteTransaction,
) -> Result<redb::Table<'_, &'static [u8], &'static [u8]>, Fault> {
    Ok(transaction.open_table(ROWS)?)
}

/// An empty table for the rows of a snapshot.
pub(crate) fn incoming_for_writing(
    transaction: &redb::WriteTransaction,
) -> Result<redb::Table<'_, &'static [u8], &'static [u8]>, Fault> {
    transaction.delete_table(INCOMING)?;
    Ok(transaction.open_table(INCOMING)?)
}

/// The rows of a snapshot that were written and committed.
pub(crate) fn incoming(database: &Database) -> Result<Base, Fault> {
    Ok(Base::new(database.begin_read()?.open_table(INCOMING)?))
}

/// Makes the rows of a snapshot those of the state.
pub(crate) fn take_incoming(database: &Database, checkpoint: &Checkpoint) -> Result<(), Fault> {
    let transaction = database.begin_write()?;
    transaction.delete_table(ROWS)?;
    transaction.rename_table(INCOMING, ROWS)?;
    watched::forget(&transaction)?;
    put_checkpoint(&transaction, checkpoint)?;
    transaction.commit()?;
    Ok(())
}

/// Removes the rows of a snapshot that is refused.
pub(crate) fn drop_incoming(database: &Database) -> Result<(), Fault> {
    let transaction = database.begin_write()?;
    transaction.delete_table(INCOMING)?;
    transaction.commit()?;
    Ok(())
}

pub(crate) fn put_checkpoint(
    transaction: &redb::WriteTransaction,
    checkpoint: &Checkpoint,
) -> Result<(), Fault> {
    let bytes = postcard::to_allocvec(checkpoint).expect("a checkpoint has a postcard encoding");
    transaction
        .open_table(META)?
        .insert(CHECKPOINT, bytes.as_slice())?;
    Ok(())
}

fn open_error(error: DatabaseError) -> OpenError {
    match error {
        DatabaseError::Storage(redb::StorageError::Io(io))
            if io.kind() != std::io::ErrorKind::InvalidData
                && io.kind() != std::io::ErrorKind::UnexpectedEof =>
        {
            OpenError::Storage(io.to_string())
        }
        DatabaseError::DatabaseAlreadyOpen => {
            OpenError::Storage("in use by another process".into())
        }
        other => OpenError::Corrupt(other.to_string()),
    }
}

/// While a file is being opened, what would stop a running node says that the file is damaged.
fn damage(fault: Fault) -> OpenError {
    match fault {
        Fault::Storage(detail) | Fault::Corrupt(detail) => OpenError::Corrupt(detail),
        other => OpenError::Fault(other),
    }
}
