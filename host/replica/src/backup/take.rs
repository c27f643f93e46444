//! How a snapshot for people comes to be: a checkpoint, and then its file beside the work.

use std::ops::Range;
use std::sync::atomic::Ordering;

use hostd_protocol::{
    Failure, FailureCode, NO_SUCH_SNAPSHOT, NOTHING_NEW_TO_SNAPSHOT, SNAPSHOT_IN_PROGRESS,
    SnapshotInfo,
};
use tokio::time::{Instant, timeout_at};

use super::{Kept, SnapshotError};
use crate::propose::stopped;
use crate::replica::{Replica, quarantined};
use crate::room;

impl Replica {
    /// Takes a snapshot of everything that is acknowledged now, and keeps its file here. The cluster
    /// goes on meanwhile.
    ///
    /// # Errors
    /// `overloaded` while one is being taken here, `invalid_argument` when nothing has changed since
    /// the newest.
    pub async fn take_snapshot(&self, deadline: Instant) -> Result<SnapshotInfo, Failure> {
        let Ok(_one) = self.inner().taking_snapshot.try_lock() else {
            return Err(Failure::new(
                FailureCode::Overloaded,
                format!(
                    "{SNAPSHOT_IN_PROGRESS}: this node is taking one; ask again when it is done"
                ),
            ));
        };
        if self.quarantined() {
            return Err(quarantined());
        }
        if self.inner().shortage.is_on() {
            return Err(room::no_space(self));
        }
        let newest = self.kept_snapshots()?.into_iter().next_back();
        self.read_barrier(deadline).await?;
        if newest.is_some_and(|newest| self.is_unchanged_since(newest.index)) {
            return Err(Failure::new(
                FailureCode::InvalidArgument,
                format!("{NOTHING_NEW_TO_SNAPSHOT}: `snapshot list` shows the newest one"),
            ));
        }
        let index = self.checkpoint(deadline).await?;
        self.wait_durable(index, deadline).await?;
        let reader = self.inner().apply.run(|applier| applier.snapshot()).await;
        let reader = reader
            .map_err(std::io::Error::from)
            .and_then(|reader| reader)
            .map_err(|error| Failure::new(FailureCode::Fault, error.to_string()))?;
        let Some((reader, _)) = reader else {
            return Err(Failure::new(
                FailureCode::Fault,
                "a checkpoint is durable, and there is none",
            ));
        };
        let cluster = self.cluster().unwrap_or_default();
        let time = (self.inner().clock)();
        let kept = self.kept();
        let add = move || kept.add(&cluster, time, reader);
        let added = self.inner().config.mode.beside(add).await;
        let added = added.ok_or_else(|| stopped().failure)?;
        let info = added.map_err(|error| failed(&error))?;
        tracing::info!(id = info.id, bytes = info.size_bytes, "snapshot taken");
        Ok(info)
    }

    /// The snapshots that this node keeps, oldest first.
    pub fn kept_snapshots(&self) -> Result<Vec<SnapshotInfo>, Failure> {
        self.kept().list().map_err(|error| failed(&error))
    }

    /// A part of a kept snapshot's file: shorter where the file ends, or more than may be had at once
    /// is asked for.
    pub fn read_snapshot(&self, id: &str, range: Range<u64>) -> Result<Vec<u8>, Failure> {
        let found = self.kept().read(id, range);
        found.map_err(|error| failed(&error))?.ok_or_else(|| {
            // An id is a client's text, so it is not repeated.
            Failure::new(
                FailureCode::InvalidArgument,
                format!(
                    "{NO_SUCH_SNAPSHOT} on this node: `snapshot list` shows those that it keeps"
                ),
            )
        })
    }

    fn kept(&self) -> Kept {
        Kept::new(self.inner().config.snapshots.clone())
    }

    /// Whether the checkpoint at `index` still is all that there is.
    fn is_unchanged_since(&self, index: u64) -> bool {
        let progress = &self.inner().progress;
        *progress.checkpoint.borrow() == index && !progress.dirty.load(Ordering::Relaxed)
    }

    async fn wait_durable(&self, index: u64, deadline: Instant) -> Result<(), Failure> {
        let mut durable = self.inner().progress.durable.clone();
        let reached =
            durable.wait_for(|now| now.position.is_some_and(|position| position.index >= index));
        match timeout_at(deadline, reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(stopped().failure),
            Err(_) => Err(Failure::new(
                FailureCode::Timeout,
                "the checkpoint is not on this node's disk yet; ask again, or with a longer timeout",
            )),
        }
    }
}

fn failed(error: &SnapshotError) -> Failure {
    let code = match error {
        SnapshotError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
            FailureCode::NoSpace
        }
        _ => FailureCode::Fault,
    };
    Failure::new(code, error.to_string())
}
