//! How keys lie in the state, and how they change.
//!
//! | row | holds |
//! |---|---|
//! | `r` key | the record: value, media type, number, deadline |
//! | `n` number | the key, for `SCAN` |
//! | `x` deadline, key | the number: the keys that expire, soonest first |
//! | `t` | how many records there are, and the last number given |
//!
//! Numbers and deadlines in keys are big-endian, so that rows sort by them.
//!
//! A record holds all that `GET` and a plain `SET` need: the first is one read, the second one
//! read (for the number to keep, and to know whether a deadline goes away) and one write. The
//! other rows change only when a key comes, goes, or changes its deadline.
//!
//! Every key has a number, larger than those of all keys before it, for as long as it exists.
//! `SCAN` walks from the newest number down: its cursor is a number, it ends however fast keys
//! are added, and it returns every key that exists throughout exactly once.

use std::collections::BTreeSet;

use hostd_sdk::Tail;
use hostd_sdk::prelude::*;
use hostd_sdk::state::KeyRange;

use crate::expiry;

const RECORD: u8 = b'r';
const NUMBER: u8 = b'n';
const DEADLINE: u8 = b'x';
const TOTALS: &[u8] = b"t";

/// What others may watch: keys with their values. The last byte of a record tells what is behind the
/// value.
pub(crate) const WATCHED: Watched = Watched::plain(&[RECORD]).without_tails(&[
    Tail::fixed(0, 9),
    Tail::fixed(HAS_DEADLINE, 17),
    Tail::counted(HAS_MEDIA, 9),
    Tail::counted(HAS_DEADLINE | HAS_MEDIA, 17),
]);

/// A key's value and what belongs to it, as commands see them.
pub(crate) struct Record {
    pub(crate) value: Vec<u8>,
    /// From this time on the key does not exist.
    pub(crate) deadline: Option<Time>,
    /// What the value is, such as `image/png`, where somebody said so; at most
    /// [`MEDIA_BYTES_MAX`] long. It stays as long as the value is only changed in place.
    pub(crate) media: Option<Vec<u8>>,
}

/// Size of a media type.
pub(crate) const MEDIA_BYTES_MAX: usize = 255;

impl Record {
    /// A new value of no stated media type.
    pub(crate) fn new(value: Vec<u8>, deadline: Option<Time>) -> Self {
        Self {
            value,
            deadline,
            media: None,
        }
    }
}

/// Bits of a record's last byte: what the record has before it.
const HAS_DEADLINE: u8 = 1;
const HAS_MEDIA: u8 = 2;

/// What a record holds beside the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Marks {
    deadline: Option<Time>,
    number: u64,
}

impl Marks {
    fn is_due(self, view: &View) -> bool {
        // Asks for the time only when there is a deadline.
        self.deadline.is_some_and(|deadline| deadline <= view.now())
    }

    /// A record's row: the value, the media type, then the marks, so that the value is had by
    /// cutting off the end. The last byte tells what there is.
    fn into_row(self, value: Vec<u8>, media: Option<&[u8]>) -> Vec<u8> {
        let mut row = value;
        let mut has = 0;
        row.reserve_exact(17 + media.map_or(0, |media| media.len() + 1));
        if let Some(media) = media {
            has |= HAS_MEDIA;
            row.extend_from_slice(media);
            row.push(media.len().try_into().expect("media types are short"));
        }
        row.extend_from_slice(&self.number.to_le_bytes());
        if let Some(deadline) = self.deadline {
            has |= HAS_DEADLINE;
            row.extend_from_slice(&deadline.as_nanos().to_le_bytes());
        }
        row.push(has);
        row
    }

    /// Takes the marks and the media type off a record's row, which leaves the value.
    fn cut_off(row: &mut Vec<u8>) -> (Self, Option<Vec<u8>>) {
        let has = row.pop().expect("a record has an end");
        let deadline = (has & HAS_DEADLINE != 0).then(|| Time::from_nanos(cut_number(row)));
        let number = cut_number(row);
        let media = (has & HAS_MEDIA != 0).then(|| {
            let length = row.pop().expect("a media type has a length");
            row.split_off(row.len() - usize::from(length))
        });
        (Self { deadline, number }, media)
    }
}

/// Cuts a number off the end of a row.
fn cut_number(row: &mut Vec<u8>) -> u64 {
    let (rest, bytes) = row.split_last_chunk().expect("the row has a number");
    let (length, number) = (rest.len(), u64::from_le_bytes(*bytes));
    row.truncate(length);
    number
}

/// A row as a command sees it, and its marks.
fn read_row(view: &View, mut row: Vec<u8>) -> (Marks, Option<Record>) {
    let (marks, media) = Marks::cut_off(&mut row);
    let record = Record {
        value: row,
        deadline: marks.deadline,
        media,
    };
    (marks, (!marks.is_due(view)).then_some(record))
}

/// The record of a key, if the key exists.
pub(crate) fn get(view: &View, key: &[u8]) -> Option<Record> {
    let row = view.state().get(record_key(key))?;
    read_row(view, row).1
}

/// The records of several keys, in one call to the host.
pub(crate) fn get_many(view: &View, keys: &[Key]) -> Vec<Option<Record>> {
    let rows = rows_of(view, keys).into_iter();
    rows.map(|row| read_row(view, row?).1).collect()
}

/// How many of the keys exist.
pub(crate) fn count_existing(view: &View, keys: &[Key]) -> usize {
    keys.chunks(READ_AT_ONCE)
        .map(|keys| get_many(view, keys).iter().flatten().count())
        .sum()
}

/// How many rows to read together where their values do not matter, so that large values do not
/// fill the memory that an instance may have.
const READ_AT_ONCE: usize = 4;

fn rows_of(view: &View, keys: &[impl AsRef<[u8]>]) -> Vec<Option<Vec<u8>>> {
    let keys: Vec<Vec<u8>> = keys.iter().map(|key| record_key(key.as_ref())).collect();
    let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    view.state().get_many(&keys)
}

/// How many keys exist.
pub(crate) fn count(view: &View) -> u64 {
    // Those past their deadlines are still in the total until the timer removes them.
    totals(view).keys - due_keys(view).len() as u64
}

/// Visits the keys that begin with `prefix`, in their order.
pub(crate) fn visit_prefix(view: &View, prefix: &[u8], mut visit: impl FnMut(&[u8])) {
    let due = due_keys(view);
    let range = KeyRange::prefix(record_key(prefix)).keys_only();
    let mut scan = view.state().scan(range);
    while let Some((row, _)) = scan.next_pair() {
        let key = &row[1..];
        if !due.contains(key) {
            visit(key);
        }
    }
}

/// Takes a step of a walk from the newest key to the oldest: visits at most `limit` of those with
/// numbers below `cursor`. Returns the cursor to go on with; none at the end.
pub(crate) fn visit_below(
    view: &View,
    cursor: u64,
    limit: u32,
    mut visit: impl FnMut(&[u8]),
) -> Option<u64> {
    let due = due_keys(view);
    let range = KeyRange::within(number_key(0)..number_key(cursor));
    let mut scan = view.state().scan(range.reverse().limit(limit));
    let mut visited = 0;
    let mut last = 0;
    while let Some((row, key)) = scan.next_pair() {
        visited += 1;
        last = number_from(row);
        if !due.contains(key) {
            visit(key);
        }
    }
    (visited == limit).then_some(last)
}

/// The keys past their deadlines whose rows are still there. Usually none.
fn due_keys(view: &View) -> BTreeSet<Vec<u8>> {
    let mut due = BTreeSet::new();
    let mut scan = view.state().scan(due_range(view).keys_only());
    while let Some((row, _)) = scan.next_pair() {
        due.insert(row[9..].to_vec());
    }
    due
}

fn due_range(view: &View) -> KeyRange {
    let after_now = view.now() + Duration::from_nanos(1);
    KeyRange::within(vec![DEADLINE]..deadline_key(after_now, &[]))
}

/// The soonest deadline of all keys.
pub(crate) fn soonest_deadline(view: &View) -> Option<Time> {
    let range = KeyRange::prefix([DEADLINE]).keys_only().limit(1);
    let mut scan = view.state().scan(range);
    let (row, _) = scan.next_pair()?;
    Some(Time::from_nanos(number_from(row)))
}

/// Removes every key.
pub(crate) fn clear(ctx: &Context) {
    for rows in [RECORD, NUMBER, DEADLINE] {
        ctx.state().delete_range(KeyRange::prefix([rows]));
    }
    let cleared = Totals {
        keys: 0,
        // Numbers are never given twice, so that a walk begun before stays right.
        ..totals(ctx)
    };
    ctx.state().put(TOTALS, cleared.to_row());
}

/// A key, ready to be changed.
pub(crate) struct Slot {
    key: Vec<u8>,
    /// Of its record, past its deadline or not: the rows go away either way.
    marks: Option<Marks>,
}

impl Slot {
    pub(crate) fn exists(&self, view: &View) -> bool {
        self.marks.is_some_and(|marks| !marks.is_due(view))
    }
}

/// Changes of a command, gathered and then written in one call to the host.
///
/// What is gathered is not read back: a command opens each key once.
#[must_use = "nothing changes until `write`"]
pub(crate) struct Changes<'ctx> {
    ctx: &'ctx Context,
    rows: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// As changed; read when a key comes or goes.
    totals: Option<Totals>,
    /// The soonest deadline among the new ones.
    soonest: Option<Time>,
}

impl<'ctx> Changes<'ctx> {
    pub(crate) fn new(ctx: &'ctx Context) -> Self {
        Self {
            ctx,
            rows: Vec::with_capacity(1),
            totals: None,
            soonest: None,
        }
    }

    /// Reads a key in order to change it: its slot, and its record if it exists.
    pub(crate) fn open(&self, key: impl Into<Vec<u8>>) -> (Slot, Option<Record>) {
        let key = key.into();
        let (marks, record) = match self.ctx.state().get(record_key(&key)) {
            Some(row) => {
                let (marks, record) = read_row(self.ctx, row);
                (Some(marks), record)
            }
            None => (None, None),
        };
        (Slot { key, marks }, record)
    }

    /// Reads several keys, all different, in order to change them whatever their values are.
    pub(crate) fn open_many(&self, keys: Vec<Vec<u8>>) -> Vec<Slot> {
        let mut marks = Vec::with_capacity(keys.len());
        for keys in keys.chunks(READ_AT_ONCE) {
            let rows = rows_of(self.ctx, keys).into_iter();
            marks.extend(rows.map(|row| Some(Marks::cut_off(&mut row?).0)));
        }
        keys.into_iter()
            .zip(marks)
            .map(|(key, marks)| Slot { key, marks })
            .collect()
    }

    /// Sets the key's record. A deadline in the past removes the key.
    pub(crate) fn set(&mut self, slot: Slot, record: Record) {
        let Record {
            value,
            deadline,
            media,
        } = record;
        if deadline.is_some_and(|deadline| deadline <= self.ctx.now()) {
            return self.remove(slot);
        }
        let Slot { key, marks: old } = slot;
        let number = match old {
            Some(marks) => marks.number,
            None => self.add_key(&key),
        };
        let new = Marks { deadline, number };
        self.move_deadline(&key, old, Some(new));
        self.rows.push((
            record_key(&key),
            Some(new.into_row(value, media.as_deref())),
        ));
    }

    /// Removes the key and all its rows, if there are any.
    pub(crate) fn remove(&mut self, slot: Slot) {
        if let Some(marks) = slot.marks {
            self.move_deadline(&slot.key, Some(marks), None);
            self.remove_rows(&slot.key, marks.number);
        }
    }

    /// Removes keys that are past their deadlines, at most `limit` of them.
    pub(crate) fn remove_due(&mut self, limit: u32) {
        let mut scan = self.ctx.state().scan(due_range(self.ctx).limit(limit));
        while let Some((row, number)) = scan.next_pair() {
            let number = number.try_into().expect("a deadline's row has a number");
            self.rows.push((row.to_vec(), None));
            self.remove_rows(&row[9..], u64::from_le_bytes(number));
        }
    }

    fn remove_rows(&mut self, key: &[u8], number: u64) {
        self.rows.push((number_key(number), None));
        self.rows.push((record_key(key), None));
        self.totals().keys -= 1;
    }

    /// Writes what was gathered.
    pub(crate) fn write(mut self) {
        if let Some(totals) = self.totals.take() {
            self.rows.push((TOTALS.to_vec(), Some(totals.to_row())));
        }
        match self.rows.as_slice() {
            [] => {}
            // What most commands come to needs no packing.
            [(key, Some(row))] => self.ctx.state().put(key, row),
            rows => {
                let rows: Vec<_> = rows
                    .iter()
                    .map(|(key, row)| (key.as_slice(), row.as_deref()))
                    .collect();
                self.ctx.state().write_batch(&rows);
            }
        }
        if let Some(soonest) = self.soonest {
            expiry::wake_by(self.ctx, soonest);
        }
    }

    /// Changes the row of the key's deadline, when the deadline changes.
    fn move_deadline(&mut self, key: &[u8], old: Option<Marks>, new: Option<Marks>) {
        let deadline = |marks: Option<Marks>| marks.and_then(|marks| marks.deadline);
        if deadline(old) == deadline(new) {
            return;
        }
        if let Some(old) = deadline(old) {
            self.rows.push((deadline_key(old, key), None));
        }
        if let Some(Marks {
            deadline: Some(new),
            number,
        }) = new
        {
            let row = number.to_le_bytes().to_vec();
            self.rows.push((deadline_key(new, key), Some(row)));
            self.soonest = Some(self.soonest.map_or(new, |soonest| soonest.min(new)));
        }
    }

    /// Counts a new key and gives it its number.
    fn add_key(&mut self, key: &[u8]) -> u64 {
        let totals = self.totals();
        totals.keys += 1;
        totals.last_number += 1;
        let number = totals.last_number;
        self.rows.push((number_key(number), Some(key.to_vec())));
        number
    }

    fn totals(&mut self) -> &mut Totals {
        self.totals.get_or_insert_with(|| totals(self.ctx))
    }
}

/// How many records there are, and the last number given to one.
#[derive(Clone, Copy, Default)]
struct Totals {
    keys: u64,
    last_number: u64,
}

impl Totals {
    fn to_row(self) -> Vec<u8> {
        [self.keys.to_le_bytes(), self.last_number.to_le_bytes()].concat()
    }

    fn from_row(mut row: Vec<u8>) -> Self {
        let last_number = cut_number(&mut row);
        let keys = cut_number(&mut row);
        Self { keys, last_number }
    }
}

fn totals(view: &View) -> Totals {
    view.state()
        .get(TOTALS)
        .map_or_else(Totals::default, Totals::from_row)
}

fn record_key(key: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(1 + key.len());
    row.push(RECORD);
    row.extend_from_slice(key);
    row
}

fn number_key(number: u64) -> Vec<u8> {
    let mut row = vec![NUMBER];
    row.extend_from_slice(&number.to_be_bytes());
    row
}

fn deadline_key(deadline: Time, key: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(9 + key.len());
    row.push(DEADLINE);
    row.extend_from_slice(&deadline.as_nanos().to_be_bytes());
    row.extend_from_slice(key);
    row
}

/// The number at the front of a row's key, behind its letter: a key's number or a deadline.
fn number_from(row: &[u8]) -> u64 {
    let bytes = row[1..]
        .first_chunk()
        .expect("the row begins with a number");
    u64::from_be_bytes(*bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_from_its_row() {
        for (value, deadline, media) in [
            (b"value".to_vec(), None, None),
            (b"".to_vec(), Some(Time::from_secs(5)), None),
            (vec![1; 300], Some(Time::MAX), Some(vec![b'm'; 255])),
            (vec![3], None, Some(Vec::new())),
        ] {
            let marks = Marks {
                deadline,
                number: 7,
            };
            let mut row = marks.into_row(value.clone(), media.as_deref());
            assert_eq!(Marks::cut_off(&mut row), (marks, media));
            assert_eq!(row, value);
        }
    }

    #[test]
    fn rows_sort_by_their_numbers() {
        let deadline = |nanos, key: &str| deadline_key(Time::from_nanos(nanos), key.as_bytes());
        assert!(number_key(1) < number_key(256));
        assert!(deadline(255, "z") < deadline(256, "a"));
        assert_eq!(number_from(&deadline(9, "k")), 9);
        assert_eq!(number_from(&number_key(9)), 9);
    }
}
