//! The Raft log: durable through [`LogDatabase`], fast through its tail in memory.
//!
//! Appending returns at once; the entries can be read from then on, and the writer reports when
//! they are on disk. Vote, truncation and purge use the same queue, so the order on disk is the
//! order of the calls.

mod database;
mod reader;
mod record;
#[cfg(test)]
mod suite;
mod tail;
#[cfg(test)]
mod tests;

use std::{
    fmt, io,
    sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

pub use database::OpenLogError;
pub(crate) use database::{Change, LogDatabase};
use openraft::{
    LogState,
    storage::{IOFlushed, RaftLogStorage},
};
pub(crate) use reader::LogReader;
use tail::Tail;
use tokio::sync::oneshot;

use crate::{
    log_writer::{Done, LogWriter, Write},
    observe,
    types::{LogEntry, LogId, TypeConfig, Vote},
};
pub(crate) use record::Fact;
use record::Record;

/// Group and index. Several Raft groups can share one database.
pub(crate) type LogKey = (u64, u64);

/// The log of one Raft group.
#[derive(Clone)]
pub(crate) struct LogStore {
    group: Arc<Group>,
    writer: Arc<LogWriter>,
}

/// What the log holds, ahead of the disk by what is queued.
struct Group {
    id: u64,
    database: Arc<LogDatabase>,
    state: RwLock<State>,
}

struct State {
    vote: Option<Vote>,
    /// As it was when the log was opened, for Raft to start from.
    committed: Option<LogId>,
    purged: Option<LogId>,
    last: Option<LogId>,
    /// Index of the first entry that is there, if there is one.
    first: u64,
    tail: Tail,
    /// Number of the last write that was queued.
    writes: u64,
    /// Bytes of all entries since the log was opened, for whoever wants to know how much was
    /// logged in between.
    appended_bytes: u64,
}

impl Group {
    fn read(&self) -> io::Result<RwLockReadGuard<'_, State>> {
        self.state.read().map_err(|_| poisoned())
    }

    fn write(&self) -> io::Result<RwLockWriteGuard<'_, State>> {
        self.state.write().map_err(|_| poisoned())
    }
}

fn poisoned() -> io::Error {
    io::Error::other("the log's state is unknown after a panic")
}

impl fmt::Debug for LogStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("LogStore")
            .field("group", &self.group.id)
            .finish_non_exhaustive()
    }
}

impl LogStore {
    /// The log of a group, of which every entry is read and verified. About `tail_bytes` of the
    /// newest entries stay in memory.
    pub(crate) fn open(
        database: &Arc<LogDatabase>,
        writer: &Arc<LogWriter>,
        id: u64,
        tail_bytes: usize,
    ) -> Result<Self, OpenLogError> {
        let meta = database.group_meta(id);
        let mut tail = Tail::new(tail_bytes);
        let mut last = meta.purged;
        let first = meta.purged.as_ref().map_or(0, |purged| purged.index() + 1);
        database.verify_group(id, |entry| {
            last = Some(entry.log_id);
            tail.push(entry, 0);
            tail.evict(0);
        })?;
        // What was applied may be ahead of what this node had on disk: others had it.
        let committed = meta.committed.min(last);
        Ok(Self {
            group: Arc::new(Group {
                id,
                database: Arc::clone(database),
                state: RwLock::new(State {
                    vote: meta.vote,
                    committed,
                    purged: meta.purged,
                    last,
                    first,
                    tail,
                    writes: 0,
                    appended_bytes: 0,
                }),
            }),
            writer: Arc::clone(writer),
        })
    }

    /// A reader of this log.
    pub(crate) fn reader(&self) -> LogReader {
        LogReader::new(Arc::clone(&self.group))
    }

    /// Index of the last entry; 0 when there is none.
    pub(crate) fn last_index(&self) -> u64 {
        let last = self.group.read().map_or(None, |state| state.last);
        last.as_ref().map_or(0, LogId::index)
    }

    /// Bytes of all entries that were appended since the log was opened.
    pub(crate) fn appended_bytes(&self) -> u64 {
        self.group.read().map_or(0, |state| state.appended_bytes)
    }

    /// The last purged index, and whether this log has neither entries nor a past.
    pub(crate) fn beginning(&self) -> (Option<u64>, bool) {
        self.group.read().map_or((None, false), |state| {
            let purged = state.purged.as_ref().map(LogId::index);
            (purged, state.last.is_none() && state.vote.is_none())
        })
    }

    /// The last index that may be purged once everything up to `checkpoint` is durable elsewhere:
    /// what is in memory anyway is kept for followers that lag a little.
    pub(crate) fn purgeable(&self, checkpoint: u64) -> Option<u64> {
        let state = self.group.read().ok()?;
        let in_memory = state.tail.range();
        let upto = if in_memory.contains(&checkpoint) {
            in_memory.start.checked_sub(1)?
        } else {
            checkpoint
        };
        let purged = state.purged.as_ref().map(LogId::index);
        (purged < Some(upto)).then_some(upto)
    }

    /// Whether this is remembered.
    pub(crate) fn knows(&self, fact: Fact) -> bool {
        let meta = self.group.database.group_meta(self.group.id);
        meta.facts.has(fact)
    }

    /// Remembers this, or forgets it.
    pub(crate) async fn note(&self, fact: Fact, on: bool) -> io::Result<()> {
        if on == self.knows(fact) {
            return Ok(());
        }
        let (sender, receiver) = oneshot::channel();
        {
            let mut state = self.group.write()?;
            let change = Change::Note {
                group: self.group.id,
                fact,
                on,
            };
            self.queue(&mut state, vec![change], 0, Done::Task(sender));
        }
        self.writer.commit_soon();
        receiver.await.map_err(io::Error::other)?
    }

    /// Queues a write under the lock of the state it belongs to, so that the order of the queue
    /// is the order of the changes.
    fn queue(&self, state: &mut State, changes: Vec<Change>, bytes: usize, done: Done) {
        state.writes += 1;
        let number = state.writes;
        let group = Arc::downgrade(&self.group);
        self.writer.push(Write {
            changes,
            bytes,
            durable: Some(Box::new(move || {
                if let Some(group) = group.upgrade()
                    && let Ok(mut state) = group.write()
                {
                    state.tail.evict(number);
                }
            })),
            done,
        });
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let state = self.group.read()?;
        Ok(LogState {
            last_purged_log_id: state.purged,
            last_log_id: state.last,
        })
    }

    async fn get_log_reader(&mut self) -> LogReader {
        self.reader()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut state = self.group.write()?;
            state.vote = Some(*vote);
            let change = Change::Vote {
                group: self.group.id,
                vote: *vote,
            };
            self.queue(&mut state, vec![change], 0, Done::Task(sender));
        }
        self.writer.commit_soon();
        receiver.await.map_err(io::Error::other)??;
        observe::voted(vote);
        Ok(())
    }

    /// Rides along with the next write that somebody waits for.
    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        let mut state = self.group.write()?;
        let change = Change::Committed {
            group: self.group.id,
            committed,
        };
        self.queue(&mut state, vec![change], 0, Done::Nobody);
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.group.read()?.committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = LogEntry> + Send,
        I::IntoIter: Send,
    {
        self.writer.check()?;
        let mut state = self.group.write()?;
        let number = state.writes + 1;
        let mut bytes = 0;
        let changes: Vec<Change> = entries
            .into_iter()
            .map(|entry| {
                observe::appended(&entry);
                let record = Record::new(&entry);
                bytes += record.len();
                if state.last == state.purged {
                    state.first = record.index;
                }
                state.last = Some(entry.log_id);
                state.tail.push(entry, number);
                Change::Put {
                    group: self.group.id,
                    record,
                }
            })
            .collect();
        state.appended_bytes += bytes as u64;
        self.queue(&mut state, changes, bytes, Done::Raft(callback));
        drop(state);
        self.writer.commit_soon();
        Ok(())
    }

    /// Waits for the disk: a snapshot that is installed next goes to another file, and must not
    /// be durable beside entries that contradict it.
    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut state = self.group.write()?;
            if last >= state.last {
                return Ok(());
            }
            let from = last.as_ref().map_or(0, |last| last.index() + 1);
            state.tail.truncate(from);
            state.last = last;
            let change = Change::Truncate {
                group: self.group.id,
                from,
            };
            self.queue(&mut state, vec![change], 0, Done::Task(sender));
        }
        self.writer.commit_soon();
        receiver.await.map_err(io::Error::other)?
    }

    /// Does not wait for the disk: a purged entry that comes back after a crash does no harm.
    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        let mut state = self.group.write()?;
        if state.purged.as_ref() >= Some(&upto) {
            return Ok(());
        }
        state.tail.purge(upto.index());
        if state
            .last
            .as_ref()
            .is_none_or(|last| last.index() < upto.index())
        {
            state.last = Some(upto);
        }
        state.first = state.first.max(upto.index() + 1);
        state.purged = Some(upto);
        let change = Change::Purge {
            group: self.group.id,
            purged: upto,
        };
        self.queue(&mut state, vec![change], 0, Done::Nobody);
        drop(state);
        self.writer.commit_soon();
        self.writer.sweep();
        Ok(())
    }
}
