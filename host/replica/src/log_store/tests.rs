//! The log store against a disk that stops, restarts, fails and decays.

use std::{
    io,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use openraft::{
    EntryPayload,
    storage::{IOFlushed, RaftLogReader, RaftLogStorage},
    type_config::TypeConfigExt,
};
use redb::StorageBackend;

use super::{LogDatabase, LogStore, OpenLogError};
use crate::{
    log_file::{Boxed, LOG_FILE, LogDisk},
    log_writer::LogWriter,
    pace::{Pace, WriterMode},
    types::{LogEntry, Payload, TypeConfig, Vote, log_id},
};

struct Opened {
    store: LogStore,
    writer: Arc<LogWriter>,
    database: Arc<LogDatabase>,
}

fn open_disk(disk: LogDisk, mode: WriterMode) -> Result<Opened, OpenLogError> {
    let database = Arc::new(LogDatabase::open(disk, 1, || 42)?);
    let writer = Arc::new(LogWriter::start(Arc::clone(&database), &mode, Arc::default()).unwrap());
    let store = LogStore::open(&database, &writer, 0, 16 << 20)?;
    Ok(Opened {
        store,
        writer,
        database,
    })
}

fn open(directory: &Path) -> Result<Opened, OpenLogError> {
    open_disk(LogDisk::open(directory, true).unwrap(), WriterMode::Thread)
}

fn entry(term: u64, index: u64, size: usize) -> LogEntry {
    LogEntry {
        log_id: log_id(term, index),
        payload: EntryPayload::Normal(Payload::from_bytes(Bytes::from(vec![index as u8; size]))),
    }
}

async fn append(store: &mut LogStore, entries: Vec<LogEntry>) -> io::Result<()> {
    let (sender, receiver) = TypeConfig::oneshot();
    store.append(entries, IOFlushed::signal(sender)).await?;
    receiver.await.unwrap()
}

async fn fill(store: &mut LogStore, term: u64, indexes: std::ops::Range<u64>) {
    for index in indexes {
        append(store, vec![entry(term, index, 100)]).await.unwrap();
    }
}

async fn indexes(store: &mut LogStore) -> Vec<(u64, u64)> {
    let entries = store.reader().try_get_log_entries(..).await.unwrap();
    entries
        .iter()
        .map(|entry| crate::types::term_and_index(&entry.log_id))
        .collect()
}

#[tokio::test]
async fn everything_that_was_acknowledged_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let incarnation = {
        let Opened {
            mut store,
            database,
            ..
        } = open(directory.path()).unwrap();
        fill(&mut store, 1, 0..20).await;
        store.truncate_after(Some(log_id(1, 14))).await.unwrap();
        fill(&mut store, 2, 15..30).await;
        store.purge(log_id(1, 4)).await.unwrap();
        store.save_committed(Some(log_id(2, 20))).await.unwrap();
        store.save_vote(&Vote::new_committed(3, 1)).await.unwrap();
        database.incarnation()
    };
    let Opened {
        mut store,
        database,
        ..
    } = open(directory.path()).unwrap();
    assert_eq!(database.incarnation(), incarnation);
    let state = store.get_log_state().await.unwrap();
    assert_eq!(state.last_purged_log_id, Some(log_id(1, 4)));
    assert_eq!(state.last_log_id, Some(log_id(2, 29)));
    assert_eq!(store.read_committed().await.unwrap(), Some(log_id(2, 20)));
    assert_eq!(
        store.reader().read_vote().await.unwrap(),
        Some(Vote::new_committed(3, 1))
    );
    let expected: Vec<_> = (5..15)
        .map(|i| (1, i))
        .chain((15..30).map(|i| (2, i)))
        .collect();
    assert_eq!(indexes(&mut store).await, expected);
}

#[tokio::test]
async fn entries_that_left_memory_are_read_from_disk() {
    let directory = tempfile::tempdir().unwrap();
    let Opened { mut store, .. } = open(directory.path()).unwrap();
    for index in 0..40 {
        append(&mut store, vec![entry(1, index, 1 << 20)])
            .await
            .unwrap();
    }
    let mut reader = store.reader();
    let all = reader.try_get_log_entries(0..40).await.unwrap();
    assert_eq!(all.len(), 40);
    for (index, read) in all.into_iter().enumerate() {
        assert_eq!(read, entry(1, index as u64, 1 << 20));
    }
    let some = reader.limited_get_log_entries(3, 40).await.unwrap();
    assert_eq!(
        some.len(),
        1,
        "a bounded read stops, but not before the first entry"
    );
    let across = reader.try_get_log_entries(10..=38).await.unwrap();
    assert_eq!(across.len(), 29);
}

#[tokio::test]
async fn what_is_on_disk_is_read_though_nothing_is_in_memory_any_more() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(directory.path()).unwrap().store;
    const HALF: usize = 9 << 20;
    append(&mut store, vec![entry(1, 0, HALF)]).await.unwrap();
    append(&mut store, vec![entry(1, 1, HALF)]).await.unwrap();
    store.truncate_after(Some(log_id(1, 0))).await.unwrap();
    assert_eq!(indexes(&mut store).await, [(1, 0)]);
}

#[tokio::test]
async fn purged_entries_disappear_from_the_disk_too() {
    let directory = tempfile::tempdir().unwrap();
    let Opened {
        mut store,
        writer,
        database,
    } = open(directory.path()).unwrap();
    let entries = (0..3000).map(|index| entry(1, index, 10)).collect();
    append(&mut store, entries).await.unwrap();
    store.purge(log_id(1, 2899)).await.unwrap();
    assert_eq!(indexes(&mut store).await.len(), 100);
    while database.entries(0, 0..u64::MAX).unwrap().count() > 100 {
        tokio::task::yield_now().await;
    }
    writer.close();
    assert_eq!(database.entries(0, 0..u64::MAX).unwrap().count(), 100);
}

#[tokio::test]
async fn a_purge_beyond_the_end_moves_the_end() {
    let directory = tempfile::tempdir().unwrap();
    {
        let Opened { mut store, .. } = open(directory.path()).unwrap();
        fill(&mut store, 1, 0..5).await;
        store.purge(log_id(4, 100)).await.unwrap();
        fill(&mut store, 4, 101..103).await;
    }
    let Opened { mut store, .. } = open(directory.path()).unwrap();
    assert_eq!(indexes(&mut store).await, [(4, 101), (4, 102)]);
    let state = store.get_log_state().await.unwrap();
    assert_eq!(state.last_purged_log_id, Some(log_id(4, 100)));
}

#[tokio::test]
async fn the_retained_tail_is_kept_behind_a_checkpoint() {
    let directory = tempfile::tempdir().unwrap();
    let Opened { mut store, .. } = open(directory.path()).unwrap();
    fill(&mut store, 1, 0..10).await;
    assert_eq!(store.purgeable(8), None, "all of it is in memory");
    for index in 10..50 {
        append(&mut store, vec![entry(1, index, 1 << 20)])
            .await
            .unwrap();
    }
    let upto = store.purgeable(45).unwrap();
    assert!((30..40).contains(&upto), "{upto}");
    assert_eq!(store.purgeable(20), Some(20), "never past the checkpoint");
}

/// A file in memory that survives a restart, and whose syncs can fail.
#[derive(Clone, Debug, Default)]
struct Platter {
    bytes: Arc<Mutex<Vec<u8>>>,
    broken: Arc<AtomicBool>,
    syncs: Arc<AtomicU64>,
}

impl Platter {
    fn disk(&self) -> LogDisk {
        LogDisk {
            backend: Box::new(self.clone()),
            mark: None,
            name: "platter".into(),
        }
    }
}

impl StorageBackend for Platter {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.bytes.lock().unwrap();
        let end = offset as usize + out.len();
        let source = bytes.get(offset as usize..end);
        out.copy_from_slice(source.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.bytes.lock().unwrap().resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::SeqCst);
        if self.broken.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk is gone"));
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut bytes = self.bytes.lock().unwrap();
        bytes[offset as usize..offset as usize + data.len()].copy_from_slice(data);
        Ok(())
    }
}

#[tokio::test]
async fn a_failed_sync_is_final_and_acknowledges_nothing() {
    for mode in [WriterMode::Thread, WriterMode::Task(Pace::instant())] {
        let platter = Platter::default();
        let Opened {
            mut store, writer, ..
        } = open_disk(platter.disk(), mode).unwrap();
        fill(&mut store, 1, 0..3).await;
        platter.broken.store(true, Ordering::SeqCst);
        assert!(append(&mut store, vec![entry(1, 3, 10)]).await.is_err());
        platter.broken.store(false, Ordering::SeqCst);
        assert!(append(&mut store, vec![entry(1, 4, 10)]).await.is_err());
        assert!(store.save_vote(&Vote::new(9, 1)).await.is_err());
        assert!(writer.fault().borrow().is_some());
    }
}

#[tokio::test]
async fn what_waits_together_shares_one_sync_and_the_newest_hears_first() {
    let platter = Platter::default();
    let Opened {
        mut store, writer, ..
    } = open_disk(platter.disk(), WriterMode::Task(Pace::instant())).unwrap();
    let before = platter.syncs.load(Ordering::SeqCst);
    let order = Arc::new(Mutex::new(Vec::new()));
    for number in 0..10u64 {
        let order = Arc::clone(&order);
        let (sender, receiver) = tokio::sync::oneshot::channel();
        writer.push(crate::log_writer::Write {
            changes: vec![],
            bytes: 0,
            durable: Some(Box::new(move || order.lock().unwrap().push(number))),
            done: crate::log_writer::Done::Task(sender),
        });
        drop(receiver);
    }
    assert_eq!(
        platter.syncs.load(Ordering::SeqCst),
        before,
        "nothing asked for a commit yet"
    );
    append(&mut store, vec![entry(1, 0, 10)]).await.unwrap();
    assert_eq!(platter.syncs.load(Ordering::SeqCst), before + 1);
    assert_eq!(order.lock().unwrap().len(), 10);
}

#[tokio::test]
async fn a_saved_commit_index_costs_no_sync_of_its_own() {
    let platter = Platter::default();
    let Opened { mut store, .. } =
        open_disk(platter.disk(), WriterMode::Task(Pace::instant())).unwrap();
    fill(&mut store, 1, 0..3).await;
    let before = platter.syncs.load(Ordering::SeqCst);
    store.save_committed(Some(log_id(1, 1))).await.unwrap();
    assert_eq!(platter.syncs.load(Ordering::SeqCst), before);
    fill(&mut store, 1, 3..4).await;
    drop(store);
    let Opened { mut store, .. } =
        open_disk(platter.disk(), WriterMode::Task(Pace::instant())).unwrap();
    assert_eq!(store.read_committed().await.unwrap(), Some(log_id(1, 1)));
}

#[tokio::test]
async fn no_flipped_byte_is_ever_served() {
    let platter = Platter::default();
    {
        let Opened { mut store, .. } =
            open_disk(platter.disk(), WriterMode::Task(Pace::instant())).unwrap();
        fill(&mut store, 1, 0..200).await;
        store.save_vote(&Vote::new_committed(1, 1)).await.unwrap();
    }
    let original = platter.bytes.lock().unwrap().clone();
    let mut refused = 0;
    for offset in (0..original.len()).step_by(997) {
        let flipped = Platter::default();
        *flipped.bytes.lock().unwrap() = original.clone();
        flipped.bytes.lock().unwrap()[offset] ^= 0x10;
        match open_disk(flipped.disk(), WriterMode::Task(Pace::instant())) {
            // The byte was in unused space.
            Ok(Opened { mut store, .. }) => {
                let entries = store.reader().try_get_log_entries(..).await.unwrap();
                assert_eq!(entries.len(), 200, "offset {offset}");
                for (index, read) in entries.into_iter().enumerate() {
                    assert_eq!(read, entry(1, index as u64, 100), "offset {offset}");
                }
                assert_eq!(
                    store.reader().read_vote().await.unwrap(),
                    Some(Vote::new_committed(1, 1))
                );
                let _ = store.get_log_state().await.unwrap();
            }
            Err(error) => {
                assert!(error.to_string().contains("platter is damaged"), "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 5, "only {refused} damaged files were refused");
}

#[test]
fn a_truncated_file_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()).unwrap());
    let path = directory.path().join(LOG_FILE);
    let length = std::fs::metadata(&path).unwrap().len();
    for keep in [1, 4096, 100_000, length / 3 + 1] {
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(keep).unwrap();
        let refused = open(directory.path()).err().unwrap().to_string();
        assert!(refused.contains(LOG_FILE), "{keep}: {refused}");
        std::fs::remove_file(&path).unwrap();
        std::fs::remove_file(directory.path().join("log.mark")).unwrap();
        drop(open(directory.path()).unwrap());
    }
}

#[test]
fn another_nodes_log_and_garbage_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()).unwrap());
    let other = LogDatabase::open(LogDisk::open(directory.path(), true).unwrap(), 2, || 0);
    assert!(matches!(
        other,
        Err(OpenLogError::OtherNode {
            found: 1,
            expected: 2,
            ..
        })
    ));
    std::fs::write(directory.path().join(LOG_FILE), b"this is not a log").unwrap();
    assert!(matches!(
        open(directory.path()),
        Err(OpenLogError::Damaged { .. })
    ));
}

/// What a process that was killed leaves behind, with the last page it wrote damaged: redb alone
/// would go back one commit and say nothing.
#[tokio::test]
async fn a_log_that_lost_an_acknowledged_write_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let platter = Platter::default();
    let disk = || LogDisk {
        backend: Box::new(platter.clone()),
        mark: Some(Box::new(
            crate::log_file::FileBackend::open(&directory.path().join("log.mark"), false, 0)
                .unwrap(),
        )),
        name: "platter".into(),
    };
    let Opened {
        mut store,
        writer,
        database,
    } = open_disk(disk(), WriterMode::Task(Pace::instant())).unwrap();
    fill(&mut store, 1, 0..30).await;
    let older = platter.bytes.lock().unwrap().clone();
    fill(&mut store, 1, 30..31).await;
    let newer = platter.bytes.lock().unwrap().clone();
    drop((store, writer, database));

    let unmarked = || LogDisk {
        mark: None,
        ..disk()
    };
    let mut silently_lost = 0;
    *platter.bytes.lock().unwrap() = newer.clone();
    drop(open_disk(disk(), WriterMode::Task(Pace::instant())).unwrap());

    // The header names the newest commit, but one page of it is as it was before.
    let mut damaged = 0;
    for page in (4096..newer.len()).step_by(4096) {
        let range = page..page + 4096;
        if older[range.clone()] == newer[range.clone()] {
            continue;
        }
        let mut bytes = newer.clone();
        bytes[range.start + 64] ^= 1;
        *platter.bytes.lock().unwrap() = bytes.clone();
        if let Ok(Opened { mut store, .. }) =
            open_disk(unmarked(), WriterMode::Task(Pace::instant()))
        {
            silently_lost += usize::from(indexes(&mut store).await.len() == 30);
        }
        *platter.bytes.lock().unwrap() = bytes;
        match open_disk(disk(), WriterMode::Task(Pace::instant())) {
            Ok(Opened { mut store, .. }) => {
                assert_eq!(indexes(&mut store).await.len(), 31, "page {page}");
            }
            Err(error) => {
                assert!(matches!(error, OpenLogError::Damaged { .. }), "{error}");
                damaged += 1;
            }
        }
    }
    assert!(damaged > 0);
    assert!(silently_lost > 0, "the mark would not be needed");
}

#[test]
fn boxed_backends_close_what_they_hold() {
    #[derive(Debug)]
    struct Closing(Arc<AtomicBool>);
    impl StorageBackend for Closing {
        fn len(&self) -> io::Result<u64> {
            Ok(0)
        }
        fn read(&self, _: u64, _: &mut [u8]) -> io::Result<()> {
            Ok(())
        }
        fn set_len(&self, _: u64) -> io::Result<()> {
            Ok(())
        }
        fn sync_data(&self) -> io::Result<()> {
            Ok(())
        }
        fn write(&self, _: u64, _: &[u8]) -> io::Result<()> {
            Ok(())
        }
        fn close(&self) -> io::Result<()> {
            self.0.store(true, Ordering::SeqCst);
            Ok(())
        }
    }
    let closed = Arc::new(AtomicBool::new(false));
    Boxed(Box::new(Closing(Arc::clone(&closed))))
        .close()
        .unwrap();
    assert!(closed.load(Ordering::SeqCst));
}
