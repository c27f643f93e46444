//! The rows on disk, as they are there: sums of them that are computed anew, and what is needed to
//! find the first row that is another one elsewhere.
//!
//! The digest that a checkpoint carries is kept up to date from changed rows alone. Here every row is
//! read again, beside apply and flushes, in a transaction that later checkpoints do not disturb.

mod names;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use redb::Database;
use serde::{Deserialize, Serialize};

use crate::Fault;
use crate::machine::{Machine, Position};
use crate::store::{Base, Checkpoint, Revision, Row, StateDigest, database};

pub use names::{Names, Place};

/// Pieces of one answer. With keys of the largest size that limits allow they fit a frame.
const PIECES_MAX: usize = 64;

/// Rows of one page, and the bytes of their keys.
const PAGE_ROWS: usize = 256;
const PAGE_BYTES: usize = 1 << 20;

/// Where the rows on disk can be read. Cloning is cheap.
#[derive(Clone)]
pub struct Audit {
    database: Arc<Database>,
}

/// The rows of one durable checkpoint. As long as they are held, the disk keeps them.
pub struct Rows {
    base: Base,
    checkpoint: Checkpoint,
}

/// What can be asked about the rows of a checkpoint. Keys begin with the number of their table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RowsQuestion {
    /// The sum of each table.
    Tables,
    /// The rows from `start` to before `end`, cut into pieces.
    Pieces {
        /// The first key.
        start: Vec<u8>,
        /// The first key behind.
        end: Vec<u8>,
        /// Rows of a piece. The last one has the rest.
        each: u64,
    },
    /// The sums of the pieces that another one has cut.
    Sums {
        /// The first key.
        start: Vec<u8>,
        /// The first key behind each piece, rising.
        ends: Vec<Vec<u8>>,
    },
    /// The first rows from `start` to before `end`, one by one.
    Page {
        /// The first key.
        start: Vec<u8>,
        /// The first key behind.
        end: Vec<u8>,
    },
}

/// The answer to a [`RowsQuestion`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RowsAnswer {
    /// To [`RowsQuestion::Tables`].
    Tables {
        /// The digest that was kept up to date from changed rows.
        kept: [u8; 32],
        /// The sum of all rows.
        all: Sum,
        /// The tables that have rows, by number.
        tables: Vec<(u8, Sum)>,
    },
    /// To [`RowsQuestion::Pieces`]: without a gap, in order.
    Pieces(Vec<Piece>),
    /// To [`RowsQuestion::Sums`]: as many as there are ends.
    Sums(Vec<Sum>),
    /// To [`RowsQuestion::Page`].
    Page {
        /// The rows, in order. At least one, where there is one.
        rows: Vec<FoundRow>,
        /// There are more behind them.
        more: bool,
    },
}

/// How many rows there are, and the sum of their hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    /// How many.
    pub rows: u64,
    /// Their digest.
    pub digest: [u8; 32],
}

/// Some rows that follow each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// The first key behind them.
    pub end: Vec<u8>,
    /// Their sum.
    pub sum: Sum,
}

/// One row, without its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundRow {
    /// The key.
    pub key: Vec<u8>,
    /// The command that wrote it.
    pub revision: Revision,
    /// BLAKE3 of the value.
    pub value: [u8; 32],
}

impl Machine {
    /// Where the rows on this machine's disk can be read.
    pub fn audit(&self) -> Audit {
        Audit {
            database: self.store.database(),
        }
    }
}

impl Audit {
    /// The rows of the checkpoint that is on disk now.
    pub fn latest(&self) -> Result<Rows, Fault> {
        let (base, checkpoint) = database::latest(&self.database)?;
        Ok(Rows { base, checkpoint })
    }
}

impl Rows {
    /// The log entry that made the checkpoint; `None` before the first.
    pub fn position(&self) -> Option<Position> {
        self.checkpoint.position
    }

    /// Answers a question. Takes time: every row in question is read and verified.
    ///
    /// # Errors
    /// A row that is damaged, or a disk that cannot be read.
    pub fn answer(&self, question: &RowsQuestion) -> Result<RowsAnswer, Fault> {
        match question {
            RowsQuestion::Tables => self.tables(),
            RowsQuestion::Pieces { start, end, each } => {
                self.pieces(start, end, *each).map(RowsAnswer::Pieces)
            }
            RowsQuestion::Sums { start, ends } => self.sums(start, ends).map(RowsAnswer::Sums),
            RowsQuestion::Page { start, end } => self.page(start, end),
        }
    }

    fn tables(&self) -> Result<RowsAnswer, Fault> {
        let mut all = Adding::default();
        let mut tables: BTreeMap<u8, Adding> = BTreeMap::new();
        for item in self.base.stored()? {
            let (key, bytes) = item?;
            let hash = Row::decode(key.value(), bytes.value())?.1;
            all.add(&hash);
            let table = key.value().first().copied().unwrap_or_default();
            tables.entry(table).or_default().add(&hash);
        }
        Ok(RowsAnswer::Tables {
            kept: self.checkpoint.digest,
            all: all.sum(),
            tables: tables
                .into_iter()
                .map(|(table, sum)| (table, sum.sum()))
                .collect(),
        })
    }

    fn pieces(&self, start: &[u8], end: &[u8], each: u64) -> Result<Vec<Piece>, Fault> {
        let mut pieces = Vec::new();
        let mut sum = Adding::default();
        for item in self.between(start, end)? {
            let (key, bytes) = item?;
            if sum.rows >= each.max(1) && pieces.len() + 1 < PIECES_MAX {
                pieces.push(Piece {
                    end: key.value().to_vec(),
                    sum: std::mem::take(&mut sum).sum(),
                });
            }
            sum.add(&Row::decode(key.value(), bytes.value())?.1);
        }
        pieces.push(Piece {
            end: end.to_vec(),
            sum: sum.sum(),
        });
        Ok(pieces)
    }

    fn sums(&self, start: &[u8], ends: &[Vec<u8>]) -> Result<Vec<Sum>, Fault> {
        let mut sums = vec![Adding::default(); ends.len()];
        let mut piece = 0;
        let last = ends.last().map_or(start, Vec::as_slice);
        for item in self.between(start, last)? {
            let (key, bytes) = item?;
            while piece + 1 < ends.len() && key.value() >= ends[piece].as_slice() {
                piece += 1;
            }
            sums[piece].add(&Row::decode(key.value(), bytes.value())?.1);
        }
        Ok(sums.into_iter().map(Adding::sum).collect())
    }

    fn page(&self, start: &[u8], end: &[u8]) -> Result<RowsAnswer, Fault> {
        let (mut rows, mut bytes) = (Vec::new(), 0);
        for item in self.between(start, end)? {
            let (key, stored) = item?;
            let key = key.value().to_vec();
            if rows.len() == PAGE_ROWS || bytes >= PAGE_BYTES {
                return Ok(RowsAnswer::Page { rows, more: true });
            }
            bytes += key.len();
            let row = Row::decode(&key, stored.value())?.0;
            rows.push(FoundRow {
                key,
                revision: row.revision,
                value: *blake3::hash(&row.value).as_bytes(),
            });
        }
        Ok(RowsAnswer::Page { rows, more: false })
    }

    /// A range that is none, which a question may have, has no rows.
    fn between(
        &self,
        start: &[u8],
        end: &[u8],
    ) -> Result<redb::Range<'static, &'static [u8], &'static [u8]>, Fault> {
        self.base.stored_between(start.min(end), end)
    }
}

impl RowsQuestion {
    /// The first key of a table, and the first key behind it; `None` for a number that no table has.
    pub fn table(table: u8) -> Option<(Vec<u8>, Vec<u8>)> {
        (table < u8::MAX).then(|| (vec![table], vec![table + 1]))
    }
}

/// A sum that grows.
#[derive(Clone, Copy, Default)]
struct Adding {
    rows: u64,
    digest: StateDigest,
}

impl Adding {
    fn add(&mut self, hash: &[u8; 32]) {
        self.rows += 1;
        self.digest.add(hash);
    }

    fn sum(self) -> Sum {
        Sum {
            rows: self.rows,
            digest: self.digest.to_bytes(),
        }
    }
}
