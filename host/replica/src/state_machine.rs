//! The machine as Raft sees it.
//!
//! What is on disk is always the state at some checkpoint, so that is where Raft starts after a
//! restart, and it is also the only state a snapshot is made of: "building" one is finding out
//! which checkpoint was durable last.

use std::{fmt, io, sync::Arc};

use futures_util::{Stream, StreamExt};
use hostd_planted::{self as planted, Bug};
use openraft::{
    RaftSnapshotBuilder, Snapshot,
    storage::{EntryResponder, RaftStateMachine},
};

use crate::{
    apply::{ApplyHandle, Item, position, position_log_id},
    network::SnapshotMeta,
    spool::SpoolFile,
    types::{CommittedLeaderId, LogId, Node, StoredMembership, TypeConfig},
};

/// Entries that are given to the apply thread at once: more than one, so that each group of
/// entries costs one hand-over, and not too many, so that the first do not wait for the last.
const GROUP_ENTRIES: usize = 64;

/// The state machine of one replica.
#[derive(Clone)]
pub(crate) struct StateMachine {
    apply: Arc<ApplyHandle>,
}

impl fmt::Debug for StateMachine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("StateMachine")
            .finish_non_exhaustive()
    }
}

/// What a snapshot consists of, depending on where it is.
pub enum SnapshotData {
    /// On its way out: the chunks, and how the machine reads them.
    Outgoing(Box<hostd_machine::SnapshotReader>),
    /// Received in full.
    Received(ReceivedSnapshot),
    /// Known to exist; its content was not asked for.
    Named,
}

/// A snapshot in a file of this node. The file goes when this is dropped.
#[derive(Debug)]
pub struct ReceivedSnapshot(pub(crate) SpoolFile);

impl fmt::Debug for SnapshotData {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            SnapshotData::Outgoing(_) => "Outgoing",
            SnapshotData::Received(_) => "Received",
            SnapshotData::Named => "Named",
        })
    }
}

/// A snapshot with what it reaches up to.
pub(crate) type MachineSnapshot = Snapshot<CommittedLeaderId, u64, Node, SnapshotData>;

impl StateMachine {
    pub(crate) fn new(apply: Arc<ApplyHandle>) -> Self {
        Self { apply }
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let (mut position, membership) = self.apply.run(|applier| applier.applied()).await?;
        if planted::active(Bug::ApplyTwice)
            && let Some(position) = &mut position
        {
            position.index -= 1;
        }
        Ok((position.map(position_log_id), membership))
    }

    async fn apply<S>(&mut self, entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + Send,
    {
        let mut entries = entries.fuse();
        let mut ended = false;
        while !ended {
            let mut group: Vec<Item> = Vec::new();
            while group.len() < GROUP_ENTRIES && !ended {
                match entries.next().await {
                    Some(item) => group.push(item?),
                    None => ended = true,
                }
            }
            if !group.is_empty() {
                self.apply.run(|applier| applier.apply(group)).await??;
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotData,
    ) -> io::Result<()> {
        let SnapshotData::Received(ReceivedSnapshot(file)) = snapshot else {
            return Err(io::Error::other(
                "only a received snapshot can be installed",
            ));
        };
        let Some(wanted) = meta.last_log_id.as_ref().map(position) else {
            return Err(io::Error::other("the snapshot was announced as of nothing"));
        };
        self.apply
            .run(move |applier| applier.install(wanted, file.path()))
            .await??;
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<MachineSnapshot>> {
        let snapshot = self.apply.run(|applier| applier.snapshot()).await??;
        Ok(snapshot.map(|(reader, membership)| Snapshot {
            meta: SnapshotMeta {
                last_log_id: Some(position_log_id(reader.position())),
                last_membership: membership,
            },
            snapshot: SnapshotData::Outgoing(Box::new(reader)),
        }))
    }
}

impl RaftSnapshotBuilder<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> io::Result<MachineSnapshot> {
        let (position, membership) = if planted::active(Bug::PurgeTooFar) {
            self.apply.run(|applier| applier.applied()).await?
        } else {
            self.apply.run(|applier| applier.durable()).await??
        };
        let Some(position) = position else {
            return Err(io::Error::other(
                "the log refers to a state that this node does not have",
            ));
        };
        Ok(Snapshot {
            meta: SnapshotMeta {
                last_log_id: Some(position_log_id(position)),
                last_membership: membership,
            },
            snapshot: SnapshotData::Named,
        })
    }
}
