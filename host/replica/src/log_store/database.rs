//! The log's database: opening it with care, and committing to it.

use std::{
    collections::BTreeMap,
    io,
    ops::Range,
    panic::AssertUnwindSafe,
    sync::{Mutex, PoisonError},
};

use hostd_planted::{self as planted, Bug};
use hostd_protocol::NodeId;
use redb::{Database, ReadableDatabase, TableDefinition};
use thiserror::Error;

use super::{
    LogKey,
    record::{Fact, GroupMeta, Identity, Meta, Record, read_entry, read_row, write_row},
};
use crate::{
    log_file::{Boxed, LogDisk, Mark},
    observe,
    types::{LogEntry, LogId, Vote},
};

/// Version of the layout of `log.redb`. A newer one is refused.
const FORMAT: u32 = 1;

/// Memory that redb may use for pages. The tail serves almost every read, so little is needed.
const CACHE_BYTES: usize = 8 << 20;

/// Entries and all else in one table: appends and the meta row then share the rightmost leaf,
/// and a commit writes one page less.
const ROWS: TableDefinition<LogKey, &[u8]> = TableDefinition::new("log");
const META: LogKey = (u64::MAX, 0);
const IDENTITY: LogKey = (u64::MAX, 1);

/// Why a log could not be opened. Every message names the file.
#[derive(Debug, Error)]
pub enum OpenLogError {
    /// The file is not what was written.
    #[error("{file} is damaged: {reason}")]
    Damaged {
        /// The file's name.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A newer hostd wrote it.
    #[error("{file} is in format {found}; this version of hostd reads up to format {FORMAT}")]
    NewerFormat {
        /// The file's name.
        file: String,
        /// The format in the file.
        found: u32,
    },
    /// The file belongs to a node with another number.
    #[error("{file} belongs to node {found}, not to node {expected}")]
    OtherNode {
        /// The file's name.
        file: String,
        /// The node it belongs to.
        found: NodeId,
        /// The node that wanted to open it.
        expected: NodeId,
    },
    /// The disk failed.
    #[error("{file}: {source}")]
    Io {
        /// The file's name.
        file: String,
        /// What failed.
        source: io::Error,
    },
}

/// What one commit does, in this order.
#[derive(Debug)]
pub(crate) enum Change {
    /// Adds or replaces an entry.
    Put { group: u64, record: Record },
    /// Removes the entries from an index on.
    Truncate { group: u64, from: u64 },
    /// Remembers a vote.
    Vote { group: u64, vote: Vote },
    /// Remembers how far the log is known to be committed.
    Committed {
        group: u64,
        committed: Option<LogId>,
    },
    /// Remembers something of the node, or forgets it.
    Note { group: u64, fact: Fact, on: bool },
    /// Gives up the entries up to an index. [`LogDatabase::sweep`] removes them later.
    Purge { group: u64, purged: LogId },
}

/// An open log. One database holds the logs of all groups.
#[derive(Debug)]
pub(crate) struct LogDatabase {
    database: Database,
    file: String,
    mark: Option<Mark>,
    meta: Mutex<Meta>,
    identity: Identity,
}

impl LogDatabase {
    /// Opens the log of `node`, or makes a new one with the incarnation that `incarnation` gives.
    ///
    /// Every page and every row is verified.
    pub(crate) fn open(
        disk: LogDisk,
        node: NodeId,
        incarnation: impl FnOnce() -> u64,
    ) -> Result<Self, OpenLogError> {
        let file = disk.name.clone();
        // redb asserts on some damaged pages; while opening, that means what an error means.
        let opened = std::panic::catch_unwind(AssertUnwindSafe(|| {
            Self::open_verified(disk, node, incarnation)
        }));
        let error = match opened {
            Ok(Ok(database)) => return Ok(database),
            Ok(Err(error)) => error,
            Err(_) => Problem::Damaged("its pages contradict each other".into()),
        };
        Err(match error {
            Problem::Damaged(reason) => OpenLogError::Damaged { file, reason },
            Problem::NewerFormat(found) => OpenLogError::NewerFormat { file, found },
            Problem::OtherNode(found) => OpenLogError::OtherNode {
                file,
                found,
                expected: node,
            },
            Problem::Io(source) => OpenLogError::Io { file, source },
        })
    }

    fn open_verified(
        disk: LogDisk,
        node: NodeId,
        incarnation: impl FnOnce() -> u64,
    ) -> Result<Self, Problem> {
        let mark = disk.mark.map(Mark::new);
        let promised = match &mark {
            Some(mark) => mark.load().map_err(Problem::Io)?,
            None => 0,
        };
        let mut database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create_with_backend(Boxed(disk.backend))
            .map_err(|error| open_problem(error.into()))?;
        let intact = database
            .check_integrity()
            .map_err(|error| open_problem(error.into()))?;
        if !intact {
            tracing::info!(file = %disk.name, "the log was not closed; its free space was found anew");
        }
        let (identity, meta) = match read_head(&database)? {
            Some(head) => head,
            None if promised == 0 => {
                let identity = Identity {
                    format: FORMAT,
                    node,
                    incarnation: incarnation(),
                };
                (identity, initialize(&database, &identity)?)
            }
            None => return Err(Problem::lost(0, promised)),
        };
        if identity.format > FORMAT {
            return Err(Problem::NewerFormat(identity.format));
        }
        if identity.node != node {
            return Err(Problem::OtherNode(identity.node));
        }
        if meta.sequence < promised {
            return Err(Problem::lost(meta.sequence, promised));
        }
        Ok(Self {
            database,
            file: disk.name,
            mark,
            meta: Mutex::new(meta),
            identity,
        })
    }

    /// Random number made with this log.
    pub(crate) fn incarnation(&self) -> u64 {
        self.identity.incarnation
    }

    /// What the log remembers of a group as of the last commit.
    pub(crate) fn group_meta(&self, group: u64) -> GroupMeta {
        let meta = self.meta.lock().unwrap_or_else(PoisonError::into_inner);
        meta.groups.get(&group).cloned().unwrap_or_default()
    }

    /// Reads the whole log of a group and makes sure that no entry is missing or damaged.
    pub(crate) fn verify_group(
        &self,
        group: u64,
        mut visit: impl FnMut(LogEntry),
    ) -> Result<(), OpenLogError> {
        let purged = self.group_meta(group).purged;
        let mut expected = purged.map_or(0, |purged| purged.index() + 1);
        let mut verify = || -> io::Result<()> {
            for entry in self.entries(group, expected..u64::MAX)? {
                let entry = entry?;
                let index = entry.log_id.index();
                if index != expected {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("entry {expected} is missing; the next one is {index}"),
                    ));
                }
                expected += 1;
                visit(entry);
            }
            Ok(())
        };
        let verified = std::panic::catch_unwind(AssertUnwindSafe(&mut verify));
        let reason = match verified {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "its pages contradict each other".into(),
        };
        Err(OpenLogError::Damaged {
            file: self.file.clone(),
            reason,
        })
    }

    /// The entries of a group from `indexes`, as of now, in order. Rows that are missing are
    /// left out; a row that is damaged is an error.
    pub(crate) fn entries(
        &self,
        group: u64,
        indexes: Range<u64>,
    ) -> io::Result<impl Iterator<Item = io::Result<LogEntry>> + Send + 'static> {
        let transaction = self.database.begin_read().map_err(io::Error::other)?;
        let table = transaction.open_table(ROWS).map_err(io::Error::other)?;
        let rows = table
            .range((group, indexes.start)..(group, indexes.end.max(indexes.start)))
            .map_err(storage_error)?;
        Ok(rows.map(|row| {
            let (key, value) = row.map_err(storage_error)?;
            read_entry(key.value(), value.value())
        }))
    }

    /// Makes changes durable, all or none.
    pub(crate) fn commit(&self, changes: Vec<Change>) -> io::Result<()> {
        let mut meta = self.meta.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = meta.clone();
        next.sequence += 1;
        let told = observe::told_when_durable(&changes);
        let mut transaction = self.database.begin_write().map_err(io::Error::other)?;
        if planted::active(Bug::SkipSync) {
            let durability = transaction.set_durability(redb::Durability::None);
            durability.map_err(io::Error::other)?;
        }
        {
            let mut table = transaction.open_table(ROWS).map_err(io::Error::other)?;
            for change in changes {
                match change {
                    Change::Put { group, record } => {
                        let key = (group, record.index);
                        let mut row = table
                            .insert_reserve(key, record.len())
                            .map_err(storage_error)?;
                        record.write(key, row.as_mut());
                    }
                    Change::Truncate { group, from } => {
                        table
                            .retain_in((group, from)..(group, u64::MAX), |_, _| false)
                            .map_err(storage_error)?;
                    }
                    Change::Vote { .. } if planted::active(Bug::ForgetVote) => {}
                    Change::Vote { group, vote } => next.group(group).vote = Some(vote),
                    Change::Committed { group, committed } => {
                        next.group(group).committed = committed;
                    }
                    Change::Note { group, fact, on } => next.group(group).facts.set(fact, on),
                    Change::Purge { group, purged } => next.group(group).purged = Some(purged),
                }
            }
            table
                .insert(META, write_row(META, &next).as_slice())
                .map_err(storage_error)?;
        }
        if planted::active(Bug::MarkFirst)
            && let Some(mark) = &self.mark
        {
            mark.store(next.sequence)?;
        }
        transaction.commit().map_err(io::Error::other)?;
        if let Some(mark) = &self.mark {
            mark.store(next.sequence)?;
        }
        *meta = next;
        observe::durable(told);
        Ok(())
    }

    /// Removes at most `count` entries that were purged. Returns whether there may be more.
    pub(crate) fn sweep(&self, count: usize) -> io::Result<bool> {
        let purged: BTreeMap<u64, u64> = {
            let meta = self.meta.lock().unwrap_or_else(PoisonError::into_inner);
            meta.groups
                .iter()
                .filter_map(|(group, meta)| Some((*group, meta.purged.as_ref()?.index())))
                .collect()
        };
        let mut left = count;
        let transaction = self.database.begin_write().map_err(io::Error::other)?;
        {
            let mut table = transaction.open_table(ROWS).map_err(io::Error::other)?;
            for (group, through) in purged {
                let rows = table
                    .extract_from_if((group, 0)..=(group, through), |_, _| true)
                    .map_err(storage_error)?;
                for row in rows.take(left) {
                    row.map_err(storage_error)?;
                    left -= 1;
                }
            }
        }
        if left == count {
            transaction.abort().map_err(storage_error)?;
            return Ok(false);
        }
        transaction.commit().map_err(io::Error::other)?;
        Ok(left == 0)
    }
}

fn read_head(database: &Database) -> Result<Option<(Identity, Meta)>, Problem> {
    let transaction = database
        .begin_read()
        .map_err(|error| open_problem(error.into()))?;
    let table = match transaction.open_table(ROWS) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(open_problem(error.into())),
    };
    let row = |key: LogKey| {
        table
            .get(key)
            .map_err(|error| open_problem(error.into()))?
            .ok_or_else(|| Problem::Damaged("a row that every log has is missing".into()))
    };
    let identity: Identity = read_row(IDENTITY, row(IDENTITY)?.value()).map_err(damage)?;
    if identity.format > FORMAT {
        // The rest may have another layout.
        return Ok(Some((identity, Meta::default())));
    }
    let meta = read_row(META, row(META)?.value()).map_err(damage)?;
    Ok(Some((identity, meta)))
}

fn initialize(database: &Database, identity: &Identity) -> Result<Meta, Problem> {
    let meta = Meta::default();
    let write = || -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        {
            let mut table = transaction.open_table(ROWS)?;
            table.insert(IDENTITY, write_row(IDENTITY, identity).as_slice())?;
            table.insert(META, write_row(META, &meta).as_slice())?;
        }
        transaction.commit()?;
        Ok(())
    };
    write().map_err(open_problem)?;
    Ok(meta)
}

/// Why opening failed, without the file's name.
enum Problem {
    Damaged(String),
    NewerFormat(u32),
    OtherNode(NodeId),
    Io(io::Error),
}

impl Problem {
    fn lost(found: u64, promised: u64) -> Self {
        Self::Damaged(format!(
            "it ends at write {found}, but write {promised} had been acknowledged"
        ))
    }
}

fn open_problem(error: redb::Error) -> Problem {
    match error {
        redb::Error::Io(error)
            if !matches!(
                error.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
            ) =>
        {
            Problem::Io(error)
        }
        redb::Error::DatabaseAlreadyOpen => {
            Problem::Io(io::Error::other("in use by another process"))
        }
        other => Problem::Damaged(other.to_string()),
    }
}

fn damage(error: io::Error) -> Problem {
    Problem::Damaged(error.to_string())
}

fn storage_error(error: redb::StorageError) -> io::Error {
    match error {
        redb::StorageError::Io(error) => error,
        other => io::Error::other(other),
    }
}
