//! The past that watchers may ask for, over restarts: the newest changes, in a table of the state
//! database that is written in a checkpoint's own transaction.
//!
//! The table is this node's own. It is no part of the state: the digest does not cover it, snapshots
//! do not carry it, and where it is not whole it is forgotten rather than a fault.

use std::sync::Arc;

use hostd_planted::{self as planted, Bug};
use hostd_protocol::{Changed, Revision, codec};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::collect::Unsaved;
use crate::Fault;

/// Changes in chunks, by the number of the chunk, and under 0 which checkpoint they end with.
const PAST: TableDefinition<u64, &[u8]> = TableDefinition::new("past");

/// Size of a chunk in memory, which is more than it takes stored, unless one change has more. The
/// database gives a value of this size pages of the next power of two: a chunk fills 64 KiB well.
const CHUNK_BYTES: usize = 60 << 10;

/// Bytes of a chunk's checksum, at its front.
const CHECK_BYTES: usize = 8;

/// The newest changes of a state, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// Everything from here on is there.
    pub from: Revision,
    /// The changes.
    pub changed: Vec<Arc<Changed>>,
}

/// What a checkpoint adds.
pub(crate) struct NewPast {
    /// Index of the checkpoint before; 0 for none.
    pub(crate) follows: u64,
    pub(crate) unsaved: Unsaved,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Head {
    from: Revision,
    /// Log index of the checkpoint with which the table was written last.
    until: u64,
    /// Number of the first chunk.
    first: u64,
    /// Number of the next chunk.
    next: u64,
    /// Size of all chunks.
    bytes: u64,
}

/// Adds to the table what came since the checkpoint before the one at `index`, and drops what is
/// over the bound.
pub(crate) fn save(transaction: &WriteTransaction, index: u64, new: &NewPast) -> Result<(), Fault> {
    let NewPast { follows, unsaved } = new;
    let continued = {
        let table = transaction.open_table(PAST)?;
        let head = head(table.get(0)?.map(|bytes| bytes.value().to_vec()).as_deref());
        // Otherwise there is a gap between what the table has and what is added.
        head.filter(|head| {
            head.until == *follows && unsaved.from <= Revision::start_of(follows + 1)
        })
    };
    let mut head = if let Some(head) = continued {
        head
    } else {
        transaction.delete_table(PAST)?;
        Head {
            from: unsaved.from,
            until: 0,
            first: 1,
            next: 1,
            bytes: 0,
        }
    };
    let mut table = transaction.open_table(PAST)?;
    let mut chunk: Vec<&Changed> = Vec::new();
    let mut bytes = 0;
    for changed in &unsaved.changed {
        if !chunk.is_empty() && bytes + changed.size_bytes() > CHUNK_BYTES {
            append(&mut table, &mut head, &chunk)?;
            chunk.clear();
            bytes = 0;
        }
        chunk.push(changed);
        bytes += changed.size_bytes();
    }
    if !chunk.is_empty() {
        append(&mut table, &mut head, &chunk)?;
    }
    head.until = index;
    drop_oldest(&mut table, &mut head, unsaved.bytes_max)?;
    table.insert(0, codec::encode(&head).as_slice())?;
    Ok(())
}

fn append(
    table: &mut redb::Table<'_, u64, &'static [u8]>,
    head: &mut Head,
    changed: &[&Changed],
) -> Result<(), Fault> {
    let chunk = sealed(changed);
    table.insert(head.next, chunk.as_slice())?;
    head.next += 1;
    head.bytes += chunk.len() as u64;
    Ok(())
}

fn drop_oldest(
    table: &mut redb::Table<'_, u64, &'static [u8]>,
    head: &mut Head,
    bytes_max: usize,
) -> Result<(), Fault> {
    while head.bytes > bytes_max as u64 && head.first < head.next {
        let chunk = table.remove(head.first)?;
        let last = chunk.as_ref().and_then(|chunk| {
            head.bytes = head.bytes.saturating_sub(chunk.value().len() as u64);
            opened(chunk.value())?.last().map(|last| last.revision)
        });
        drop(chunk);
        head.first += 1;
        let Some(last) = last else {
            // What comes after a damaged chunk begins nobody knows where.
            table.retain(|_, _| false)?;
            head.first = head.next;
            head.bytes = 0;
            head.from = Revision::start_of(head.until + 1);
            break;
        };
        head.from = last.next();
    }
    Ok(())
}

/// Forgets the past: the state is another.
pub(crate) fn forget(transaction: &WriteTransaction) -> Result<(), Fault> {
    transaction.delete_table(PAST)?;
    Ok(())
}

/// The past up to the checkpoint at `index`: empty where the table does not end with it.
pub(crate) fn load(database: &Database, index: u64) -> Result<Past, Fault> {
    let none = Past {
        from: Revision::start_of(index + 1),
        changed: Vec::new(),
    };
    let transaction = database.begin_read()?;
    let table = match transaction.open_table(PAST) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(none),
        table => table?,
    };
    let bytes = table.get(0)?.map(|bytes| bytes.value().to_vec());
    let Some(head) = head(bytes.as_deref()).filter(|head| head.until == index) else {
        return Ok(none);
    };
    if planted::active(Bug::WatchSkipsAfterRestart) {
        return Ok(Past {
            from: head.from,
            changed: Vec::new(),
        });
    }
    let mut past = Past {
        from: head.from,
        changed: Vec::new(),
    };
    for item in table.range(1..)? {
        let (_, chunk) = item?;
        let Some(changed) = opened(chunk.value()) else {
            tracing::warn!("the past that watchers may ask for is damaged, and forgotten");
            return Ok(none);
        };
        past.changed.extend(changed.into_iter().map(Arc::new));
    }
    Ok(past)
}

fn head(bytes: Option<&[u8]>) -> Option<Head> {
    codec::decode(bytes?).ok()
}

fn sealed(changed: &[&Changed]) -> Vec<u8> {
    let bytes = codec::encode(&changed);
    let mut chunk = blake3::hash(&bytes).as_bytes()[..CHECK_BYTES].to_vec();
    chunk.extend_from_slice(&bytes);
    chunk
}

fn opened(chunk: &[u8]) -> Option<Vec<Changed>> {
    let (check, bytes) = chunk.split_first_chunk::<CHECK_BYTES>()?;
    (blake3::hash(bytes).as_bytes()[..CHECK_BYTES] == *check)
        .then(|| codec::decode(bytes).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use hostd_protocol::{Change, ChangeEvent};
    use redb::backends::InMemoryBackend;

    use super::*;

    fn changed(index: u64, bytes: usize) -> Arc<Changed> {
        Arc::new(Changed {
            revision: Revision::start_of(index),
            changes: vec![Change {
                plugin: "kv".into(),
                event: ChangeEvent::Put {
                    key: b"k"[..].into(),
                    value: vec![0; bytes].into(),
                },
            }],
        })
    }

    struct Disk(Database);

    impl Disk {
        fn new() -> Self {
            let database = Database::builder().create_with_backend(InMemoryBackend::new());
            Self(database.unwrap())
        }

        fn save(&self, follows: u64, index: u64, from: u64, changed: Vec<Arc<Changed>>) {
            let transaction = self.0.begin_write().unwrap();
            let unsaved = Unsaved {
                bytes_max: 1 << 20,
                bytes: 0,
                changed: changed.into(),
                from: Revision::start_of(from),
            };
            save(&transaction, index, &NewPast { follows, unsaved }).unwrap();
            transaction.commit().unwrap();
        }
    }

    #[test]
    fn what_is_saved_is_loaded_and_goes_on() {
        let disk = Disk::new();
        assert_eq!(load(&disk.0, 4).unwrap().from, Revision::start_of(5));
        disk.save(0, 4, 1, vec![changed(2, 10), changed(3, 10)]);
        disk.save(4, 8, 5, vec![changed(6, 10)]);
        let past = load(&disk.0, 8).unwrap();
        assert_eq!(past.from, Revision::start_of(1));
        assert_eq!(
            past.changed,
            [changed(2, 10), changed(3, 10), changed(6, 10)]
        );
    }

    #[test]
    fn a_gap_ends_the_past_before_it() {
        let disk = Disk::new();
        disk.save(0, 4, 1, vec![changed(2, 10)]);
        // Another state was loaded meanwhile, or a hostd that writes no past.
        assert!(load(&disk.0, 7).unwrap().changed.is_empty());
        disk.save(7, 9, 8, vec![changed(8, 10)]);
        let past = load(&disk.0, 9).unwrap();
        assert_eq!((past.from, past.changed.len()), (Revision::start_of(8), 1));
        // So much was changed that its beginning was dropped before it was saved.
        disk.save(9, 20, 15, vec![changed(15, 10)]);
        let past = load(&disk.0, 20).unwrap();
        assert_eq!((past.from, past.changed.len()), (Revision::start_of(15), 1));
    }

    #[test]
    fn the_table_is_bounded_and_knows_where_it_begins() {
        let disk = Disk::new();
        for round in 0..10 {
            let index = round * 10;
            let entries = (1..9).map(|n| changed(index + n, 40_000)).collect();
            disk.save(index, index + 10, index + 1, entries);
        }
        let past = load(&disk.0, 100).unwrap();
        let bytes: usize = past
            .changed
            .iter()
            .map(|changed| changed.size_bytes())
            .sum();
        assert!((600_000..=1 << 20).contains(&bytes), "{bytes}");
        assert!(past.from > Revision::start_of(50));
        assert!(past.changed[0].revision >= past.from);
        assert_eq!(past.changed.last().unwrap().revision.index, 98);
    }

    #[test]
    fn a_damaged_past_is_forgotten() {
        let disk = Disk::new();
        disk.save(0, 4, 1, vec![changed(2, 10)]);
        let transaction = disk.0.begin_write().unwrap();
        {
            let mut table = transaction.open_table(PAST).unwrap();
            let mut chunk = table.get(1).unwrap().unwrap().value().to_vec();
            chunk[20] ^= 1;
            table.insert(1, chunk.as_slice()).unwrap();
        }
        transaction.commit().unwrap();
        let past = load(&disk.0, 4).unwrap();
        assert_eq!(past.from, Revision::start_of(5));
        assert!(past.changed.is_empty());
    }
}
