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

    fn get(&self, key: &[u8]) -> Result<Option<Row>, Fault> {
        match self.rows.get(key)? {
            Some(bytes) => Ok(Some(Row::decode(key, bytes.value())?.0)),
            None => Ok(None),
        }
    }

    /// Every row from `start` on, as stored, in key order.
    pub(crate) fn range(
        &self,
        start: Bound<&[u8]>,
        end: Bound<&[u8]>,
        reverse: bool,
    ) -> Result<impl Iterator<Item = Result<(Key, Option<Row>), Fault>> + use<>, Fault> {
        let mut range = self.rows.range::<&[u8]>((start, end))?;
        Ok(std::iter::from_fn(move || {
            let item = if reverse {
                range.next_back()
            } else {
                range.next()
            }?;
            Some(item.map_err(Fault::from).and_then(|(key, bytes)| {
                let (row, _) = Row::decode(key.value(), bytes.value())?;
                Ok((Key::from(key.value()), Some(row)))
            }))
        }))
    }
}

/// A consistent state: the rows of `base`, overlaid by `frozen`, overlaid by `active`.
#[derive(Clone)]
pub(crate) struct Layers {
    pub(crate) active: Changes,
    pub(crate) frozen: Option<Changes>,
    pub(crate) base: Arc<Base>,
}

/// A range of keys: `start` inclusive, `end` exclusive.
#[derive(Clone, Copy)]
pub(crate) struct Span<'a> {
    pub(crate) start: &'a [u8],
    pub(crate) end: &'a [u8],
    pub(crate) reverse: bool,
}

impl Layers {
    pub(crate) fn new(base: Base) -> Self {
        Self {
            active: Changes::new(),
            frozen: None,
            base: Arc::new(base),
        }
    }

    /// The row at `key`.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Row>, Fault> {
        match self.active.get(key) {
            Some(change) => Ok(change.clone()),
            None => self.below(key),
        }
    }

    /// The row at `key` as of the last checkpoint.
    fn below(&self, key: &[u8]) -> Result<Option<Row>, Fault> {
        if let Some(change) = self.frozen.as_ref().and_then(|frozen| frozen.get(key)) {
            return Ok(change.clone());
        }
        self.base.get(key)
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
            return Ok(Merge::new(Vec::new(), span.reverse));
        }
        let bounds = (Bound::Included(span.start), Bound::Excluded(span.end));
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
        for changes in std::iter::once(&self.active).chain(&self.frozen) {
            if !changes.is_empty() {
                let range = changes
                    .range::<_, [u8]>(bounds)
                    .map(|(key, change)| Ok((Arc::clone(key), change.clone())));
                sources.push(directed(range, span.reverse));
            }
        }
        sources.push(Box::new(self.base.range(
            bounds.0,
            bounds.1,
            span.reverse,
        )?));
        Ok(Merge::new(sources, span.reverse))
    }

    /// Makes a command's writes part of the state.
    pub(crate) fn merge(&mut self, writes: Writes, revision: Revision) -> Result<(), Fault> {
        for (key, write) in writes {
            match write {
                Some(value) => {
                    self.active.insert(key, Some(Row { revision, value }));
                }
                None => self.remove(key)?,
            }
        }
        Ok(())
    }

    /// Removes a row. One that came and went since the checkpoint leaves no mark behind, so that
    /// a scan over a queue's front or over timers does not step over all that were ever there.
    fn remove(&mut self, key: Key) -> Result<(), Fault> {
        if self.below(&key)?.is_some() {
            self.active.insert(key, None);
        } else {
            self.active.remove(&key);
        }
        Ok(())
    }

    /// Sets or removes one row outside of any command's scope.
    pub(crate) fn set(&mut self, key: Key, value: Option<Arc<[u8]>>, revision: Revision) {
        self.active
            .insert(key, value.map(|value| Row { revision, value }));
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
