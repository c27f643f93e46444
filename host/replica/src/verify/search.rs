//! Finding the first key at which two members differ: one cuts its rows into pieces, the other sums the
//! same pieces, and the first that differs is cut again, until its rows can be compared one by one.

use hostd_machine::{FoundRow, Names, RowsAnswer, RowsQuestion, Sum};
use hostd_protocol::{DifferenceKind, KeyDifference};
use serde_bytes::ByteBuf;

/// Pieces that a range is cut into.
const PIECES: u64 = 64;

/// Rows that are compared one by one.
const FEW: u64 = 256;

/// Why a member does not answer.
#[derive(Debug)]
pub(super) enum Lost {
    /// It has the rows of that checkpoint no more.
    Passed,
    Damaged(String),
    Silent(String),
    Unreachable(String),
}

impl Lost {
    pub(super) fn reason(&self) -> &str {
        match self {
            Self::Passed => "it had gone on to another checkpoint each time",
            Self::Damaged(reason) | Self::Silent(reason) | Self::Unreachable(reason) => reason,
        }
    }
}

/// Somebody whose rows can be asked for.
pub(super) trait Rows {
    fn ask(&self, question: RowsQuestion) -> impl Future<Output = Result<RowsAnswer, Lost>> + Send;
}

/// The first row that is another one, with what each side has.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) right: Option<FoundRow>,
    pub(super) wrong: Option<FoundRow>,
}

/// Looks from `start` to before `end`, where `right` has so many rows.
pub(super) async fn first_difference(
    right: &(impl Rows + Sync),
    wrong: &(impl Rows + Sync),
    mut start: Vec<u8>,
    mut end: Vec<u8>,
    mut rows: u64,
) -> Result<Option<Found>, Lost> {
    while rows > FEW {
        let question = RowsQuestion::Pieces {
            start: start.clone(),
            end: end.clone(),
            each: rows.div_ceil(PIECES),
        };
        let RowsAnswer::Pieces(pieces) = right.ask(question).await? else {
            return Err(astray());
        };
        let question = RowsQuestion::Sums {
            start: start.clone(),
            ends: pieces.iter().map(|piece| piece.end.clone()).collect(),
        };
        let RowsAnswer::Sums(sums) = wrong.ask(question).await? else {
            return Err(astray());
        };
        let differs = |(piece, sum): (&hostd_machine::Piece, &Sum)| piece.sum != *sum;
        let Some(first) = pieces.iter().zip(&sums).position(differs) else {
            return Ok(None);
        };
        // What is not smaller than before would be cut for ever.
        if pieces[first].sum.rows >= rows {
            return Err(astray());
        }
        rows = pieces[first].sum.rows;
        if let Some(before) = first.checked_sub(1) {
            start.clone_from(&pieces[before].end);
        }
        end.clone_from(&pieces[first].end);
    }
    one_by_one(right, wrong, start, end).await
}

async fn one_by_one(
    right: &(impl Rows + Sync),
    wrong: &(impl Rows + Sync),
    mut start: Vec<u8>,
    end: Vec<u8>,
) -> Result<Option<Found>, Lost> {
    loop {
        let question = RowsQuestion::Page {
            start: start.clone(),
            end: end.clone(),
        };
        let (one, other) = (
            right.ask(question.clone()).await?,
            wrong.ask(question).await?,
        );
        let (
            RowsAnswer::Page {
                rows: one,
                more: one_more,
            },
            RowsAnswer::Page {
                rows: other,
                more: other_more,
            },
        ) = (one, other)
        else {
            return Err(astray());
        };
        let same = one
            .iter()
            .zip(&other)
            .take_while(|(one, other)| one == other);
        let same = same.count();
        match (one.get(same), other.get(same)) {
            (Some(one), Some(other)) => return Ok(Some(earlier(one, other))),
            (None, None) if !one_more && !other_more => return Ok(None),
            (Some(one), None) if !other_more => {
                return Ok(Some(Found {
                    right: Some(one.clone()),
                    wrong: None,
                }));
            }
            (None, Some(other)) if !one_more => {
                return Ok(Some(Found {
                    right: None,
                    wrong: Some(other.clone()),
                }));
            }
            // One page was shorter.
            _ => {}
        }
        let Some(last) = same.checked_sub(1) else {
            return Err(astray());
        };
        start.clone_from(&one[last].key);
        start.push(0);
    }
}

/// Of two rows that are not the same: where their keys differ too, the first is missing elsewhere.
fn earlier(right: &FoundRow, wrong: &FoundRow) -> Found {
    Found {
        right: (right.key <= wrong.key).then(|| right.clone()),
        wrong: (wrong.key <= right.key).then(|| wrong.clone()),
    }
}

impl Found {
    pub(super) fn told(self, names: &Names) -> KeyDifference {
        let index = |row: &Option<FoundRow>| row.as_ref().map(|row| row.revision.index);
        let (here, there) = (index(&self.wrong), index(&self.right));
        let kind = match (&self.right, &self.wrong) {
            (Some(right), Some(wrong)) if right.value == wrong.value => DifferenceKind::Revision,
            (Some(_), Some(_)) => DifferenceKind::Value,
            (Some(_), None) => DifferenceKind::Missing,
            (None, _) => DifferenceKind::Extra,
        };
        let row = self.right.or(self.wrong);
        let place = names.place(&row.map(|row| row.key).unwrap_or_default());
        KeyDifference {
            table: place.table,
            plugin: place.plugin,
            key: ByteBuf::from(place.key),
            kind,
            here,
            there,
        }
    }
}

pub(super) fn astray() -> Lost {
    Lost::Silent("its answer does not fit the question".into())
}
