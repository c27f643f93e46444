//! Reading the log, from memory where it can.

use std::{
    collections::VecDeque,
    fmt,
    fmt::Debug,
    io,
    ops::{Bound, Range, RangeBounds},
    sync::Arc,
};

use futures_util::{Stream, stream};
use openraft::storage::RaftLogReader;

use super::{Group, record::entry_bytes};
use crate::types::{LogEntry, TypeConfig, Vote};

/// Bytes of entries that one read for replication or apply returns at most, unless one entry
/// alone is larger.
const READ_BYTES_MAX: usize = 1 << 20;

/// Reads one group's log. Any number may read at the same time.
#[derive(Clone)]
pub(crate) struct LogReader {
    group: Arc<Group>,
}

impl fmt::Debug for LogReader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("LogReader")
            .field("group", &self.group.id)
            .finish_non_exhaustive()
    }
}

impl LogReader {
    pub(super) fn new(group: Arc<Group>) -> Self {
        Self { group }
    }

    /// Index of the first entry that is there, if there is one.
    pub(crate) fn first(&self) -> Option<u64> {
        let state = self.group.read().ok()?;
        state.last.as_ref().map(|_| state.first)
    }

    /// The entries of `indexes` that the log holds, in order, stopping after `bytes_max` bytes
    /// but never before the first.
    pub(crate) fn read(&self, indexes: Range<u64>, bytes_max: usize) -> io::Result<Vec<LogEntry>> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        let mut take = |entry: LogEntry| {
            bytes += entry_bytes(&entry);
            entries.push(entry);
            bytes < bytes_max
        };

        let state = self.group.read()?;
        let end = state.last.as_ref().map_or(0, |last| last.index() + 1);
        let wanted = indexes.start.max(state.first)..indexes.end.min(end);
        let in_memory = state.tail.range();
        let held = !in_memory.is_empty() && in_memory.start <= wanted.start;
        if held || wanted.is_empty() {
            for entry in state.tail.read(wanted) {
                if !take(entry.clone()) {
                    break;
                }
            }
            return Ok(entries);
        }

        // What is not in memory is on disk: an entry leaves memory only then. The transaction
        // begins under the lock, so that disk and memory are of the same moment.
        let memory_start = if in_memory.is_empty() {
            wanted.end
        } else {
            in_memory.start
        };
        let on_disk = wanted.start..wanted.end.min(memory_start);
        let rows = self
            .group
            .database
            .entries(self.group.id, on_disk.clone())?;
        let rest: Vec<LogEntry> = state.tail.read(on_disk.end..wanted.end).cloned().collect();
        drop(state);
        let mut expected = on_disk.start;
        for entry in rows {
            let entry = entry?;
            if entry.log_id.index() != expected {
                break;
            }
            expected += 1;
            if !take(entry) {
                return Ok(entries);
            }
        }
        if expected != on_disk.end {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("entry {expected} of the log is missing"),
            ));
        }
        for entry in rest {
            if !take(entry) {
                break;
            }
        }
        Ok(entries)
    }
}

impl RaftLogReader<TypeConfig> for LogReader {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<LogEntry>>
    where
        RB: RangeBounds<u64> + Clone + Debug + Send,
    {
        self.read(half_open(&range), usize::MAX)
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.group.read()?.vote)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<LogEntry>> {
        self.read(start..end, READ_BYTES_MAX)
    }

    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = io::Result<LogEntry>> + Send
    where
        RB: RangeBounds<u64> + Clone + Debug + Send,
    {
        let steps = Steps {
            reader: self.clone(),
            left: half_open(&range),
            read: VecDeque::new(),
        };
        stream::unfold(steps, |mut steps| async {
            steps.next().map(|entry| (entry, steps))
        })
    }
}

/// A long read in steps, so that it never holds much.
struct Steps {
    reader: LogReader,
    left: Range<u64>,
    read: VecDeque<LogEntry>,
}

impl Steps {
    fn next(&mut self) -> Option<io::Result<LogEntry>> {
        if self.read.is_empty() {
            match self.reader.read(self.left.clone(), READ_BYTES_MAX) {
                Ok(entries) => self.read = entries.into(),
                Err(error) => {
                    self.left = 0..0;
                    return Some(Err(error));
                }
            }
        }
        let entry = self.read.pop_front()?;
        self.left.start = entry.log_id.index() + 1;
        Some(Ok(entry))
    }
}

fn half_open(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end.max(start)
}
