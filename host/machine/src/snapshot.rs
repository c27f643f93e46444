//! Snapshots: a durable checkpoint as a sequence of chunks, and back.
//!
//! Chunks are postcard-encoded [`Chunk`]s: one head, the rows in key order, one end with the
//! digest. Neither side ever holds more than one chunk.

use hostd_planted::{self as planted, Bug};
use hostd_protocol::codec;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Fault;
use crate::machine::{Machine, Parts, Position};
use crate::store::{Checkpoint, Row, StateDigest, Table, database};

/// Size from which a chunk is handed over.
const CHUNK_BYTES: usize = 256 << 10;

/// Version of the sequence of chunks.
const FORMAT: u32 = 1;

/// A row's key and its stored form.
type Pair = (Vec<u8>, Vec<u8>);

#[derive(Serialize, Deserialize)]
enum Chunk {
    Head {
        format: u32,
        position: Position,
    },
    /// Keys with rows as they are stored.
    Rows(#[serde(with = "pairs")] Vec<Pair>),
    End {
        rows: u64,
        digest: [u8; 32],
    },
}

/// Pairs of byte strings, encoded as bytes rather than as sequences of numbers.
mod pairs {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_bytes::{ByteBuf, Bytes};

    use super::Pair;

    pub(super) fn serialize<S: Serializer>(
        pairs: &[Pair],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let pairs: Vec<(&Bytes, &Bytes)> = pairs
            .iter()
            .map(|(key, row)| (Bytes::new(key), Bytes::new(row)))
            .collect();
        pairs.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Pair>, D::Error> {
        let pairs = Vec::<(ByteBuf, ByteBuf)>::deserialize(deserializer)?;
        Ok(pairs
            .into_iter()
            .map(|(key, row)| (key.into_vec(), row.into_vec()))
            .collect())
    }
}

/// Why a snapshot was not installed. The state is as it was before.
#[derive(Debug, Error)]
pub enum InstallError {
    /// The snapshot's bytes could not be read.
    #[error("reading the snapshot: {0}")]
    Read(#[from] std::io::Error),
    /// The snapshot is not what its sender had: truncated, altered, or of another format.
    #[error("the snapshot is damaged: {0}")]
    Damaged(String),
    /// This node's own failure.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// The chunks of the last durable checkpoint, in order. Holds a read transaction: later flushes
/// go on beside it. Each item is one chunk's bytes.
pub struct SnapshotReader {
    position: Position,
    digest: [u8; 32],
    rows: redb::Range<'static, &'static [u8], &'static [u8]>,
    sent_rows: u64,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Head,
    Rows,
    Done,
}

impl SnapshotReader {
    /// The entry whose application made the checkpoint.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Digest of the state.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    fn rows(&mut self) -> Result<Chunk, Fault> {
        let mut pairs = Vec::new();
        let mut bytes = 0;
        while bytes < CHUNK_BYTES {
            let Some(item) = self.rows.next() else { break };
            let (key, row) = item?;
            if left_out(key.value()) {
                continue;
            }
            // A damaged row must not travel.
            Row::decode(key.value(), row.value())?;
            bytes += key.value().len() + row.value().len();
            pairs.push((key.value().to_vec(), row.value().to_vec()));
        }
        self.sent_rows += pairs.len() as u64;
        if pairs.is_empty() {
            self.stage = Stage::Done;
            return Ok(Chunk::End {
                rows: self.sent_rows,
                digest: self.digest,
            });
        }
        Ok(Chunk::Rows(pairs))
    }
}

impl Iterator for SnapshotReader {
    type Item = Result<Vec<u8>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        let chunk = match self.stage {
            Stage::Head => {
                self.stage = Stage::Rows;
                Ok(Chunk::Head {
                    format: FORMAT,
                    position: self.position,
                })
            }
            Stage::Rows => self.rows(),
            Stage::Done => return None,
        };
        if chunk.is_err() {
            self.stage = Stage::Done;
        }
        Some(
            chunk.map(|chunk| {
                postcard::to_allocvec(&chunk).expect("chunks have a postcard encoding")
            }),
        )
    }
}

/// Rows that a planted bug leaves out: none, in a build that is used.
pub(crate) fn left_out(key: &[u8]) -> bool {
    let of = |bug, tables: [Table; 2]| {
        planted::active(bug)
            && tables
                .iter()
                .any(|table| key.first() == Some(&(*table as u8)))
    };
    of(Bug::ForgetSessions, [Table::Session, Table::OnceKey])
        || of(Bug::ForgetTimers, [Table::TimerByTime, Table::TimerById])
}

impl Machine {
    /// A snapshot of the last durable checkpoint; `None` before the first.
    pub fn snapshot(&self) -> Result<Option<SnapshotReader>, Fault> {
        let Some(position) = self.durable().position else {
            return Ok(None);
        };
        // Not the database's last commit: a flush may be done and not yet taken in.
        Ok(Some(SnapshotReader {
            position,
            digest: self.durable().digest,
            rows: self.layers().base.stored()?,
            sent_rows: 0,
            stage: Stage::Head,
        }))
    }

    /// Replaces the whole state by the snapshot of the checkpoint at `expected`. Its rows are written
    /// beside the present ones, and take their place in one transaction once they are known to be a
    /// state that this node can load: afterwards, and after any crash or error, the state is either
    /// the old or the new one.
    ///
    /// # Errors
    /// [`InstallError::Damaged`] when the chunks are not exactly this one whole snapshot. A flush
    /// that was handed out must be given back before.
    pub fn install(
        &mut self,
        expected: Position,
        chunks: impl Iterator<Item = std::io::Result<Vec<u8>>>,
    ) -> Result<(), InstallError> {
        let database = self.store.database();
        let checkpoint = write_incoming(&database, expected, chunks)?;
        let parts = database::incoming(&database)
            .and_then(|rows| Parts::load(&self.engine, rows.into(), &checkpoint));
        let parts = match parts {
            Ok(parts) => parts,
            Err(fault) => {
                database::drop_incoming(&database)?;
                return Err(fault.into());
            }
        };
        database::take_incoming(&database, &checkpoint)?;
        self.take_over(parts, &checkpoint)?;
        Ok(())
    }
}

/// Writes the rows of a snapshot beside those of the state.
fn write_incoming(
    database: &redb::Database,
    expected: Position,
    chunks: impl Iterator<Item = std::io::Result<Vec<u8>>>,
) -> Result<Checkpoint, InstallError> {
    let transaction = database.begin_write().map_err(Fault::from)?;
    let digest = {
        let mut table = database::incoming_for_writing(&transaction)?;
        read_rows(expected, chunks, |key, row| {
            table.insert(key, row).map_err(Fault::from)?;
            Ok(())
        })?
        .digest
    };
    transaction.commit().map_err(Fault::from)?;
    Ok(Checkpoint::new(Some(expected), digest))
}

/// What the chunks of a snapshot add up to.
pub(crate) struct Summed {
    pub(crate) rows: u64,
    pub(crate) digest: StateDigest,
}

/// Hands every row of a snapshot over, in order, and makes sure that the chunks are exactly the one
/// whole snapshot of `expected`.
pub(crate) fn read_rows(
    expected: Position,
    mut chunks: impl Iterator<Item = std::io::Result<Vec<u8>>>,
    mut take: impl FnMut(&[u8], &[u8]) -> Result<(), Fault>,
) -> Result<Summed, InstallError> {
    let damaged = |what: &str| InstallError::Damaged(what.to_owned());
    let mut next = || -> Result<Chunk, InstallError> {
        let bytes = chunks.next().ok_or_else(|| damaged("it ends early"))??;
        codec::decode(&bytes).map_err(|error| InstallError::Damaged(error.to_string()))
    };
    let Chunk::Head { format, position } = next()? else {
        return Err(damaged("it does not start with a head"));
    };
    if format != FORMAT {
        return Err(InstallError::Damaged(format!(
            "format {format}; this hostd reads {FORMAT}"
        )));
    }
    if position != expected {
        return Err(InstallError::Damaged(format!(
            "it was announced as {expected:?} and is {position:?}"
        )));
    }
    let mut summed = Summed {
        rows: 0,
        digest: StateDigest::default(),
    };
    let mut last: Option<Vec<u8>> = None;
    loop {
        match next()? {
            Chunk::Head { .. } => return Err(damaged("it has two heads")),
            Chunk::Rows(pairs) => {
                for (key, row) in pairs {
                    // A key that comes twice would count twice in the digest and be there once.
                    if last.as_ref().is_some_and(|last| *last >= key) {
                        return Err(damaged("its rows are out of order"));
                    }
                    let (_, hash) = Row::decode(&key, &row)
                        .map_err(|fault| InstallError::Damaged(fault.to_string()))?;
                    summed.digest.add(&hash);
                    take(&key, &row)?;
                    summed.rows += 1;
                    last = Some(key);
                }
            }
            Chunk::End { rows, digest } => {
                if planted::active(Bug::ForgetSessions) || planted::active(Bug::ForgetTimers) {
                    summed.digest = StateDigest::from_bytes(&digest);
                } else if rows != summed.rows || digest != summed.digest.to_bytes() {
                    return Err(damaged("its rows do not add up to its digest"));
                }
                break;
            }
        }
    }
    match chunks.next().transpose()? {
        None => Ok(summed),
        Some(_) => Err(damaged("it goes on after its end")),
    }
}
