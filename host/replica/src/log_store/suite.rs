//! openraft's own test suite, run on this log store. Its state-machine half runs on the simple
//! machine below; hostd's takes snapshots at checkpoints only, which the suite does not know.

use std::{io, sync::Arc};

use futures_util::{Stream, TryStreamExt};
use openraft::{
    RaftSnapshotBuilder, Snapshot, SnapshotMeta, StorageError,
    storage::{EntryResponder, RaftStateMachine},
    testing::log::{StoreBuilder, Suite},
};
use redb::backends::InMemoryBackend;

use super::{LogDatabase, LogStore};
use crate::{
    log_file::LogDisk,
    log_writer::LogWriter,
    pace::{Pace, WriterMode},
    types::{Applied, CommittedLeaderId, LogId, Node, StoredMembership, TypeConfig},
};

type Meta = SnapshotMeta<CommittedLeaderId, u64, Node>;

#[derive(Clone, Default)]
struct Positions {
    applied: Option<LogId>,
    membership: StoredMembership,
    snapshot: Option<Meta>,
}

#[derive(Clone, Default)]
struct Counting(Arc<std::sync::Mutex<Positions>>);

impl RaftStateMachine<TypeConfig> for Counting {
    type SnapshotData = ();
    type SnapshotBuilder = Counting;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let positions = self.0.lock().unwrap();
        Ok((positions.applied, positions.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + Send,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let mut positions = self.0.lock().unwrap();
            if let openraft::EntryPayload::Membership(membership) = entry.payload {
                positions.membership = StoredMembership::new(Some(entry.log_id), membership);
            }
            positions.applied = Some(entry.log_id);
            if let Some(responder) = responder {
                responder.send(Applied::default());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Counting {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &Meta, (): ()) -> io::Result<()> {
        let mut positions = self.0.lock().unwrap();
        positions.applied = meta.last_log_id;
        positions.membership = meta.last_membership.clone();
        positions.snapshot = Some(meta.clone());
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> io::Result<Option<Snapshot<CommittedLeaderId, u64, Node, ()>>> {
        let positions = self.0.lock().unwrap();
        Ok(positions
            .snapshot
            .clone()
            .map(|meta| Snapshot { meta, snapshot: () }))
    }
}

impl RaftSnapshotBuilder<TypeConfig> for Counting {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> io::Result<Snapshot<CommittedLeaderId, u64, Node, ()>> {
        let mut positions = self.0.lock().unwrap();
        let meta = Meta {
            last_log_id: positions.applied,
            last_membership: positions.membership.clone(),
        };
        positions.snapshot = Some(meta.clone());
        Ok(Snapshot { meta, snapshot: () })
    }
}

struct Builder(WriterMode);

impl StoreBuilder<TypeConfig, LogStore, Counting> for Builder {
    async fn build(&self) -> Result<((), LogStore, Counting), StorageError<TypeConfig>> {
        let disk = LogDisk {
            backend: Box::new(InMemoryBackend::new()),
            mark: None,
            name: "memory".into(),
        };
        let database = Arc::new(LogDatabase::open(disk, 1, || 7).unwrap());
        let writer =
            Arc::new(LogWriter::start(Arc::clone(&database), &self.0, Arc::default()).unwrap());
        let store = LogStore::open(&database, &writer, 0, 16 << 20).unwrap();
        Ok(((), store, Counting::default()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openraft_suite_with_a_writer_thread() {
    Suite::test_all(Builder(WriterMode::Thread)).await.unwrap();
}

#[tokio::test]
async fn openraft_suite_with_a_writer_task() {
    Suite::test_all(Builder(WriterMode::Task(Pace::instant())))
        .await
        .unwrap();
}
