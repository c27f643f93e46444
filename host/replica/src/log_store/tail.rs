//! The newest entries, in memory: what replication and apply read almost always.

use std::{collections::VecDeque, ops::Range};

use super::record::entry_bytes;
use crate::types::LogEntry;

/// Entries without a gap up to the last of the log.
///
/// An entry may leave only once it is on disk, however full the tail is.
#[derive(Debug)]
pub(crate) struct Tail {
    entries: VecDeque<Kept>,
    bytes: usize,
    bytes_max: usize,
}

#[derive(Debug)]
struct Kept {
    entry: LogEntry,
    /// The write that makes it durable.
    write: u64,
}

impl Tail {
    /// An empty tail that keeps about `bytes_max` bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            bytes_max,
        }
    }

    /// Indexes of the entries that are here.
    pub(crate) fn range(&self) -> Range<u64> {
        match self.entries.front() {
            None => 0..0,
            Some(first) => {
                let start = first.entry.log_id.index();
                start..start + self.entries.len() as u64
            }
        }
    }

    /// Adds the next entry, which write number `write` makes durable.
    pub(crate) fn push(&mut self, entry: LogEntry, write: u64) {
        debug_assert!(self.entries.is_empty() || self.range().end == entry.log_id.index());
        self.bytes += entry_bytes(&entry);
        self.entries.push_back(Kept { entry, write });
    }

    /// The entries of `indexes` that are here.
    pub(crate) fn read(&self, indexes: Range<u64>) -> impl Iterator<Item = &LogEntry> {
        let here = self.range();
        let start = indexes.start.clamp(here.start, here.end) - here.start;
        let end = indexes.end.clamp(here.start, here.end) - here.start;
        self.entries
            .range(start as usize..(end as usize).max(start as usize))
            .map(|kept| &kept.entry)
    }

    /// Removes the entries from `index` on.
    pub(crate) fn truncate(&mut self, index: u64) {
        while self
            .entries
            .back()
            .is_some_and(|last| last.entry.log_id.index() >= index)
        {
            if let Some(last) = self.entries.pop_back() {
                self.bytes -= entry_bytes(&last.entry);
            }
        }
    }

    /// Removes the entries up to `index`.
    pub(crate) fn purge(&mut self, index: u64) {
        while self
            .entries
            .front()
            .is_some_and(|first| first.entry.log_id.index() <= index)
        {
            self.pop_front();
        }
    }

    /// Drops old entries that the writes up to `write` made durable, until the rest fits.
    pub(crate) fn evict(&mut self, write: u64) {
        while self.bytes > self.bytes_max
            && self.entries.len() > 1
            && self
                .entries
                .front()
                .is_some_and(|first| first.write <= write)
        {
            self.pop_front();
        }
    }

    fn pop_front(&mut self) {
        if let Some(first) = self.entries.pop_front() {
            self.bytes -= entry_bytes(&first.entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use openraft::EntryPayload;

    use super::*;
    use crate::types::{Payload, log_id};

    fn entry(index: u64, size: usize) -> LogEntry {
        LogEntry {
            log_id: log_id(1, index),
            payload: EntryPayload::Normal(Payload::from_bytes(Bytes::from(vec![0; size]))),
        }
    }

    fn filled() -> Tail {
        let mut tail = Tail::new(3000);
        for index in 5..15 {
            tail.push(entry(index, 1000), index);
        }
        tail
    }

    fn indexes(tail: &Tail, range: Range<u64>) -> Vec<u64> {
        tail.read(range).map(|entry| entry.log_id.index()).collect()
    }

    #[test]
    fn an_entry_leaves_only_when_it_is_durable_and_the_tail_is_full() {
        let mut tail = filled();
        tail.evict(4);
        assert_eq!(tail.range(), 5..15);
        tail.evict(6);
        assert_eq!(tail.range(), 7..15);
        tail.evict(100);
        assert_eq!(tail.range(), 13..15);
        tail.evict(100);
        assert_eq!(tail.range(), 13..15);
    }

    #[test]
    fn reads_stay_within_what_is_here() {
        let tail = filled();
        assert_eq!(indexes(&tail, 0..7), [5, 6]);
        assert_eq!(indexes(&tail, 13..99), [13, 14]);
        assert!(indexes(&tail, 0..3).is_empty());
        assert!(indexes(&tail, 20..30).is_empty());
        assert!(indexes(&Tail::new(1), 0..3).is_empty());
    }

    #[test]
    fn both_ends_can_be_cut() {
        let mut tail = filled();
        tail.truncate(12);
        tail.purge(6);
        assert_eq!(tail.range(), 7..12);
        tail.truncate(0);
        assert_eq!(tail.range(), 0..0);
        assert_eq!(tail.bytes, 0);
    }
}
