//! Reading through the layers, newest first.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use redb::ReadOnlyTable;

use super::merge::{Merge, Source};
use super::{Key, Revision, Row};
use crate::Fault;

/// Changed rows since some checkpoint; `None` is a removed row. Cloning is cheap and shares
/// structure.
pub(crate) type Changes = imbl::OrdMap<Key, Option<Row>>;

/// What the running command wrote so far; `None` is a removed row.
pub(crate) type Writes = BTreeMap<Key, Option<Arc<[u8]>>>;

/// The rows of one durable checkpoint: a redb read transaction, which later commits do not
/// disturb.
pub(crate) struct Base {
    rows: ReadOnlyTable<&'static [u8], &'static [u8]>,
}

impl Base {
    pub(crate) fn new(rows: ReadOnlyTable<&'static [u8], &'static [u8]>) -> Self {
        Self { rows }
    }

    /// Every row as stored, in key order.
    pub(crate) fn stored(
        &self,
    ) -> Result<redb::Range<'static, &'static [u8], &'static [u8]>, Fault> {
        Ok(self.rows.range::<&[u8]>(..)?)
    }

    /// The rows from `start` to before `end` as stored, in key order.
    pub(crate) fn stored_between(
        &self,
        start: &[u8],
        end: &[u8],
    ) -> Result<redb::Range<'static, &'static [u8], &'static [u8]>, Fault> {
        Ok(self.rows.range::<&[u8]>(start..end)?)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Row>, Fault> {
        match self.rows.get(key)? {
            Some(bytes) => Ok(Some(Row::decode(key, bytes.value())?.0)),
            None => Ok(None),
        }
    }

    /// Whether there is a row at `key`, without a look at its value.
    fn contains(&self, key: &[u8]) -> Result<bool, Fault> {
        Ok(self.rows.get(key)?.is_some())
    }

    /// Size of the value at `key`, without a look at it.
    fn value_bytes(&self, key: &[u8]) -> Result<Option<usize>, Fault> {
        let row = self.rows.get(key)?;
        Ok(row.map(|bytes| Row::value_bytes(bytes.value())))
    }

    /// The rows of a span, in order.
    fn range(
        &self,
        span: Span<'_>,
    ) -> Result<impl Iterator<Item = Result<(Key, Option<Row>), Fault>> + use<>, Fault> {
        let Span {
            reverse, keys_only, ..
        } = span;
        let mut range = self.rows.range::<&[u8]>(span.bounds())?;
        Ok(std::iter::from_fn(move || {
            let item = if reverse {
                range.next_back()
            } else {
                range.next()
            }?;
            Some(item.map_err(Fault::from).and_then(|(key, bytes)| {
                let row = if keys_only {
                    Row::default()
                } else {
                    Row::decode(key.value(), bytes.value())?.0
                };
                Ok((Key::from(key.value()), Some(row)))
            }))
        }))
    }
}

/// A consistent state: the rows of `base`, overlaid by `frozen`, overlaid by `active`.
#[derive(Clone)]
pub(crate) struct Layers {
    pub(crate) active: Changes,
    /// Size of `active`, by [`change_bytes`].
    active_bytes: u64,
    pub(crate) frozen: Option<Changes>,
    pub(crate) base: Arc<Base>,
}

/// What a changed row takes in memory beside its key and value.
const CHANGE_BYTES: u64 = 64;

/// The size that a change counts with. Part of the rules.
fn change_bytes(key: &[u8], value: Option<&[u8]>) -> u64 {
    CHANGE_BYTES + (key.len() + value.map_or(0, <[u8]>::len)) as u64
}

/// The size that a command's writes count with, as part of the state.
pub(crate) fn writes_bytes(writes: &Writes) -> u64 {
    writes
        .iter()
        .map(|(key, write)| change_bytes(key, write.as_deref()))
        .sum()
}

/// A range of keys: `start` inclusive, `end` exclusive.
#[derive(Clone, Copy)]
pub(crate) struct Span<'a> {
    pub(crate) start: &'a [u8],
    pub(crate) end: &'a [u8],
    pub(crate) reverse: bool,
    /// Values are not needed: those from disk are left out, neither copied nor verified.
    pub(crate) keys_only: bool,
}

impl<'a> Span<'a> {
    /// From the first key to the last, with values.
    pub(crate) fn new(start: &'a [u8], end: &'a [u8]) -> Self {
        Self {
            start,
            end,
            reverse: false,
            keys_only: false,
        }
    }

    fn bounds(self) -> (Bound<&'a [u8]>, Bound<&'a [u8]>) {
        (Bound::Included(self.start), Bound::Excluded(self.end))
    }
}

impl Layers {
    pub(crate) fn new(base: Arc<Base>) -> Self {
        Self {
            active: Changes::new(),
            active_bytes: 0,
            frozen: None,
            base,
        }
    }

    /// Size of the changes since the last checkpoint, the same on every replica.
    pub(crate) fn overlay_bytes(&self) -> u64 {
        self.active_bytes
    }

    /// Makes the changes since the last checkpoint the frozen ones, and returns them.
    pub(crate) fn freeze(&mut self) -> Changes {
        let changes = std::mem::take(&mut self.active);
        self.active_bytes = 0;
        self.frozen = Some(changes.clone());
        changes
    }

    /// Lays the frozen changes and those since together, where nobody writes the frozen ones to disk.
    pub(crate) fn unfreeze(&mut self) {
        if let Some(mut changes) = self.frozen.take() {
            changes.extend(std::mem::take(&mut self.active));
            self.active = changes;
        }
    }

    /// The row at `key`.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Row>, Fault> {
        match self.active.get(key) {
            Some(change) => Ok(change.clone()),
            None => match self.frozen_change(key) {
                Some(change) => Ok(change.clone()),
                None => self.base.get(key),
            },
        }
    }

    fn frozen_change(&self, key: &[u8]) -> Option<&Option<Row>> {
        self.frozen.as_ref().and_then(|frozen| frozen.get(key))
    }

    /// Whether there was a row at `key` at the last checkpoint.
    fn was_there(&self, key: &[u8]) -> Result<bool, Fault> {
        match self.frozen_change(key) {
            Some(change) => Ok(change.is_some()),
            None => self.base.contains(key),
        }
    }

    /// Size of the value at `key`, if there is one.
    pub(crate) fn value_bytes(&self, key: &[u8]) -> Result<Option<usize>, Fault> {
        let change = self.active.get(key).or_else(|| self.frozen_change(key));
        match change {
            Some(change) => Ok(change.as_ref().map(|row| row.value.len())),
            None => self.base.value_bytes(key),
        }
    }

    /// The value at `key`, as the command that made `writes` sees it.
    pub(crate) fn get_with(&self, writes: &Writes, key: &[u8]) -> Result<Option<Arc<[u8]>>, Fault> {
        match writes.get(key) {
            Some(write) => Ok(write.clone()),
            None => Ok(self.get(key)?.map(|row| row.value)),
        }
    }

    /// Present rows of a span, in order, as the command that made `writes` sees them. Rows that
    /// the command wrote itself carry the default revision.
    pub(crate) fn scan<'a>(
        &'a self,
        writes: &'a Writes,
        span: Span<'_>,
    ) -> Result<Merge<'a>, Fault> {
        if span.start >= span.end {
            return Ok(Merge::new(Vec::new(), 0, span.reverse));
        }
        let bounds = span.bounds();
        let mut sources: Vec<Source<'a>> = Vec::with_capacity(4);
        if !writes.is_empty() {
            let range = writes.range::<[u8], _>(bounds).map(|(key, write)| {
                let row = write.as_ref().map(|value| Row {
                    revision: Revision::default(),
                    value: Arc::clone(value),
                });
                Ok((Arc::clone(key), row))
            });
            sources.push(directed(range, span.reverse));
        }
        let changed = |changes: &'a Changes| {
            let range = changes
                .range::<_, [u8]>(bounds)
                .map(|(key, change)| Ok((Arc::clone(key), change.clone())));
            directed(range, span.reverse)
        };
        if !self.active.is_empty() {
            sources.push(changed(&self.active));
        }
        // What lies below depends on when this node's flush was done.
        let alike = sources.len();
        sources.extend(self.frozen.as_ref().map(changed));
        sources.push(Box::new(self.base.range(span)?));
        Ok(Merge::new(sources, alike, span.reverse))
    }

    /// Makes a command's writes part of the state.
    pub(crate) fn merge(&mut self, writes: Writes, revision: Revision) -> Result<(), Fault> {
        for (key, write) in writes {
            match write {
                Some(value) => self.insert(key, Some(Row { revision, value })),
                None => self.remove(key)?,
            }
        }
        Ok(())
    }

    fn insert(&mut self, key: Key, change: Option<Row>) {
        self.active_bytes += change_bytes(&key, change.as_ref().map(|row| &*row.value));
        if let Some(old) = self.active.insert(Key::clone(&key), change) {
            self.active_bytes -= change_bytes(&key, old.as_ref().map(|row| &*row.value));
        }
    }

    /// Removes a row. One that came and went since the checkpoint leaves no mark behind, so that
    /// a scan over a queue's front or over timers does not step over all that were ever there.
    fn remove(&mut self, key: Key) -> Result<(), Fault> {
        if self.was_there(&key)? {
            self.insert(key, None);
        } else if let Some(old) = self.active.remove(&key) {
            self.active_bytes -= change_bytes(&key, old.as_ref().map(|row| &*row.value));
        }
        Ok(())
    }

    /// Sets or removes one row outside of any command's scope.
    pub(crate) fn set(&mut self, key: Key, value: Option<Arc<[u8]>>, revision: Revision) {
        self.insert(key, value.map(|value| Row { revision, value }));
    }
}

fn directed<'a, I>(range: I, reverse: bool) -> Source<'a>
where
    I: DoubleEndedIterator<Item = Result<(Key, Option<Row>), Fault>> + 'a,
{
    if reverse {
        Box::new(range.rev())
    } else {
        Box::new(range)
    }
}
