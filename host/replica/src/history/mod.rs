//! Looking back: the log for people, the state as it was at an entry, and how another version would
//! have fared. All of it is played on a copy of the machine, from one of the last checkpoints on, and
//! leaves no trace.

mod dry_run;
mod show;

use std::{io, sync::Arc};

use hostd_machine::{
    Engine, Fault, Input, Machine, OpenError, Position, Rehearsal, Rehearsals, View,
};
use hostd_protocol::{DryRun, Entry, Failure, FailureCode, LogPage, NodeId, codec};
use openraft::EntryPayload;
use redb::StorageBackend;
use thiserror::Error;

use crate::{
    apply::position,
    log_file::LogDisk,
    log_store::{LogDatabase, LogReader, LogStore, OpenLogError},
    log_writer::LogWriter,
    pace::WriterMode,
    replica::Replica,
    types::{GROUP, LogEntry},
};

/// Bytes of entries that are read at once.
const READ_BYTES: usize = 1 << 20;

/// Looks at a log that a checkpoint shortens meanwhile.
const ATTEMPTS: u32 = 3;

/// A log and the checkpoint that it goes on from.
pub struct History {
    rehearsals: Rehearsals,
    reader: LogReader,
    /// Index of the last entry that counts.
    last: u64,
    /// Keeps files open.
    _files: Option<(Machine, LogStore)>,
}

/// Why the past could not be told.
#[derive(Debug, Error)]
pub enum HistoryError {
    /// The machine's copy failed.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The log could not be read.
    #[error("reading the log: {0}")]
    Log(#[from] io::Error),
    /// The log's file could not be opened.
    #[error(transparent)]
    OpenLog(#[from] OpenLogError),
    /// The state's file could not be opened.
    #[error("the state: {0}")]
    OpenState(#[from] OpenError),
    /// A checkpoint that came meanwhile has made what was to be read superfluous.
    #[error("a checkpoint was made meanwhile; try again")]
    Moved,
    /// What was asked for is not there.
    #[error("{0}")]
    Absent(String),
}

impl From<HistoryError> for Failure {
    fn from(error: HistoryError) -> Self {
        match error {
            HistoryError::Absent(reason) => Self::new(FailureCode::InvalidArgument, reason),
            error => Self::new(FailureCode::Overloaded, error.to_string()),
        }
    }
}

impl History {
    /// Opens the files of a node that does not run. Nothing that is asked of it changes them, but
    /// opening a file that was not closed well mends it: this is for copies.
    pub fn open(
        state: impl StorageBackend,
        log: LogDisk,
        node: NodeId,
    ) -> Result<Self, HistoryError> {
        let engine = Arc::new(Engine::new()?);
        let machine = Machine::open(engine, state)?;
        let database = Arc::new(LogDatabase::open(log, node, || 0)?);
        let writer = Arc::new(LogWriter::start(
            Arc::clone(&database),
            &WriterMode::Thread,
            Arc::default(),
        )?);
        let log = LogStore::open(&database, &writer, GROUP, READ_BYTES)?;
        Ok(Self {
            rehearsals: machine.rehearsals(),
            reader: log.reader(),
            last: log.last_index(),
            _files: Some((machine, log)),
        })
    }

    /// Index of the last entry that counts.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// A page of the log: at most `count` lines, from the entry at `from` on, of `plugin` only if one
    /// is named.
    pub fn show(
        &self,
        from: u64,
        plugin: Option<&str>,
        count: usize,
    ) -> Result<LogPage, HistoryError> {
        show::page(self, from, plugin, count)
    }

    /// Plays the last `last` calls of a plugin on another version of it.
    pub fn dry_run(&self, component: &[u8], last: usize) -> Result<DryRun, HistoryError> {
        dry_run::compare(self, component, last)
    }

    /// The state after the entry at `until`. `progress` is told each index.
    pub fn replay(
        &self,
        until: u64,
        mut progress: impl FnMut(u64),
    ) -> Result<Arc<View>, HistoryError> {
        let mut rehearsal = self.rehearsals.begin(until)?;
        let first = rehearsal.position().map_or(0, |position| position.index);
        if until < first || until > self.last {
            return Err(HistoryError::Absent(format!(
                "these files reach from entry {first}, their last checkpoint, to entry {}; entry {until} is not \
                 among them. For what is older, take an older copy",
                self.last
            )));
        }
        self.play(&mut rehearsal, until, |_, entry, rehearsal| {
            progress(entry.log_id.index());
            apply(rehearsal, entry)?;
            Ok(true)
        })?;
        Ok(rehearsal.view())
    }

    /// Walks through the entries that the rehearsal has not applied, up to `until`, for as long as
    /// `visit` says so.
    fn play(
        &self,
        rehearsal: &mut Rehearsal,
        until: u64,
        mut visit: impl FnMut(&Self, &LogEntry, &mut Rehearsal) -> Result<bool, HistoryError>,
    ) -> Result<(), HistoryError> {
        let start = match rehearsal.position() {
            Some(position) => position.index + 1,
            None => self.reader.first().unwrap_or(0),
        };
        self.walk(start, until, |entry| visit(self, entry, rehearsal))
    }

    /// Walks through the entries from `start` to `until`, for as long as `visit` says so.
    fn walk(
        &self,
        start: u64,
        until: u64,
        mut visit: impl FnMut(&LogEntry) -> Result<bool, HistoryError>,
    ) -> Result<(), HistoryError> {
        let mut next = start;
        while next <= until {
            let entries = self.reader.read(next..until + 1, READ_BYTES)?;
            if entries
                .first()
                .is_none_or(|entry| entry.log_id.index() != next)
            {
                return Err(HistoryError::Moved);
            }
            for entry in entries {
                next = entry.log_id.index() + 1;
                if !visit(&entry)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// What an entry of the log holds.
enum Content {
    Blank,
    Membership(Vec<u8>),
    Entry(Entry),
}

fn content(entry: &LogEntry) -> Result<Content, HistoryError> {
    Ok(match &entry.payload {
        EntryPayload::Blank => Content::Blank,
        EntryPayload::Membership(membership) => {
            let stored =
                crate::types::StoredMembership::new(Some(entry.log_id), membership.clone());
            Content::Membership(codec::encode(&stored))
        }
        // The decoded form may be wanted by whoever applies it.
        EntryPayload::Normal(payload) => {
            let decoded = codec::decode(payload.bytes());
            Content::Entry(decoded.map_err(|error| {
                io::Error::other(format!("entry {}: {error}", entry.log_id.index()))
            })?)
        }
    })
}

/// Applies an entry to a copy of the machine.
fn apply(
    rehearsal: &mut Rehearsal,
    entry: &LogEntry,
) -> Result<(hostd_machine::Applied, Vec<hostd_machine::CallRecord>), HistoryError> {
    let position: Position = position(&entry.log_id);
    let content = content(entry)?;
    let input = match &content {
        Content::Blank => Input::Blank,
        Content::Membership(bytes) => Input::Membership(bytes),
        Content::Entry(entry) => Input::Entry(entry.clone()),
    };
    Ok(rehearsal.apply(position, input)?)
}

impl Replica {
    /// Looks back on this node's own log, on a thread of its own, one look at a time.
    ///
    /// # Errors
    /// `overloaded` when it could not be done now.
    pub async fn look_back<T: Send + 'static>(
        &self,
        look: impl Fn(&History) -> Result<T, HistoryError> + Send + 'static,
    ) -> Result<T, Failure> {
        let Ok(_turn) = self.inner().looking_back.try_lock() else {
            return Err(Failure::new(
                FailureCode::Overloaded,
                "this node is looking back for somebody else; try again in a moment",
            ));
        };
        let history = History {
            rehearsals: self.inner().rehearsals.clone(),
            reader: self.inner().log.reader(),
            last: self.applied_index(),
            _files: None,
        };
        let look = move || {
            let mut looked = look(&history);
            for _ in 1..ATTEMPTS {
                if !matches!(looked, Err(HistoryError::Moved)) {
                    break;
                }
                looked = look(&history);
            }
            looked
        };
        match self.inner().config.mode.beside(look).await {
            Some(looked) => looked.map_err(Failure::from),
            None => Err(Failure::new(
                FailureCode::Fault,
                "the thread that looked back died",
            )),
        }
    }
}
