//! Writing a checkpoint to disk, away from the thread that applies.

use std::sync::Arc;

use hostd_planted::{self as planted, Bug};
use redb::Database;

use super::database::{Checkpoint, base, put_checkpoint, rows_for_writing};
use super::{Base, Changes, Row, StateDigest};
use crate::watched::{self, NewPast};
use crate::{Fault, Position};

/// The frozen changes of one checkpoint, ready to be written. Run it anywhere, once, and give
/// the result to [`crate::Machine::flushed`].
pub struct FlushJob {
    pub(crate) database: Arc<Database>,
    pub(crate) changes: Changes,
    pub(crate) position: Position,
    /// Digest of the state before these changes.
    pub(crate) digest: StateDigest,
    /// What watchers may ask for later, where that is kept.
    pub(crate) past: Option<NewPast>,
}

/// A checkpoint that is on disk.
pub struct Flushed {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) base: Base,
}

impl std::fmt::Debug for FlushJob {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("FlushJob")
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

impl FlushJob {
    /// Writes all changes, sorted, with the applied position and the digest, in one transaction,
    /// and returns when they are on disk.
    pub fn run(self) -> Result<Flushed, Fault> {
        let mut digest = self.digest;
        if planted::active(Bug::SplitCheckpoint) {
            // What etcd 3.5 did: the position first, and what it stands for later.
            let transaction = self.database.begin_write()?;
            put_checkpoint(
                &transaction,
                &Checkpoint::new(Some(self.position), self.digest),
            )?;
            transaction.commit()?;
        }
        let transaction = self.database.begin_write()?;
        {
            let mut rows = rows_for_writing(&transaction)?;
            let written = || self.changes.iter().filter(|(_, row)| row.is_some());
            let wrong = planted::wrong_row(|| written().count())
                .and_then(|number| written().nth(number))
                .map(|(key, _)| key.clone());
            for (key, change) in &self.changes {
                let old = match change {
                    Some(row) => {
                        let (bytes, hash) = match &wrong {
                            Some(wrong) if wrong == key => row.altered().encode(key),
                            _ => row.encode(key),
                        };
                        digest.add(&hash);
                        old_hash(key, rows.insert(&**key, bytes.as_slice())?)?
                    }
                    None if planted::active(Bug::FlushSkipsDeletes) => None,
                    None => old_hash(key, rows.remove(&**key)?)?,
                };
                if let Some(hash) = old {
                    digest.remove(&hash);
                }
            }
        }
        let checkpoint = Checkpoint::new(Some(self.position), digest);
        put_checkpoint(&transaction, &checkpoint)?;
        if let Some(past) = &self.past {
            watched::save(&transaction, self.position.index, past)?;
        }
        transaction.commit()?;
        Ok(Flushed {
            checkpoint,
            base: base(&self.database)?,
        })
    }
}

impl Flushed {
    /// The log entry whose application made this checkpoint.
    pub fn position(&self) -> Position {
        self.checkpoint
            .position
            .expect("a flushed checkpoint has a position")
    }
}

/// The digest's share of the row that was just replaced. Its checksum is verified, so that a
/// damaged row cannot slip out of the digest unseen.
fn old_hash(
    key: &[u8],
    old: Option<redb::AccessGuard<'_, &'static [u8]>>,
) -> Result<Option<[u8; 32]>, Fault> {
    old.map(|bytes| Row::decode(key, bytes.value()).map(|(_, hash)| hash))
        .transpose()
}
