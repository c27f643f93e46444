//! What a node answers when another one asks.

use std::{
    fmt, io,
    path::PathBuf,
    sync::{Arc, Weak},
};

use hostd_protocol::{Failure, FailureCode, NodeId};
use openraft::{
    Snapshot,
    raft::{AppendEntriesRequest, AppendEntriesResponse},
};

use super::{
    Ask, ControlAsk, ControlTell, Hello, PROTOCOL_VERSION, Rebuff, Refusal, SnapshotHead,
    SnapshotTell, Tell,
};
use crate::{
    membership::number_in_use,
    replica::{Raft, Replica, ReplicaInner},
    spool::Spool,
    state_machine::{ReceivedSnapshot, SnapshotData},
    types::{Node, TypeConfig},
};

/// The receiving side of a transport.
#[derive(Clone)]
pub struct PeerService(Arc<Core>);

/// What answers.
pub(crate) struct Core {
    pub(crate) id: NodeId,
    pub(crate) node: Node,
    pub(crate) boot: u64,
    pub(crate) replaces: bool,
    pub(crate) raft: Raft,
    pub(crate) replica: Weak<ReplicaInner>,
    pub(crate) spool: PathBuf,
}

impl fmt::Debug for PeerService {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PeerService")
            .field("node", &self.0.id)
            .finish_non_exhaustive()
    }
}

impl PeerService {
    pub(crate) fn new(core: Core) -> Self {
        Self(Arc::new(core))
    }

    fn replica(&self) -> Result<Replica, String> {
        let replica = self.0.replica.upgrade();
        replica
            .map(Replica::from_inner)
            .ok_or_else(|| "the node is stopping".into())
    }

    /// How this node introduces itself.
    pub fn hello(&self) -> Result<Hello, String> {
        let core = &self.0;
        Ok(Hello {
            protocol: PROTOCOL_VERSION,
            software: env!("CARGO_PKG_VERSION").into(),
            node: core.id,
            identity: core.node.clone(),
            boot: core.boot,
            cluster: self.replica()?.cluster(),
            seated_at: self.replica()?.seated_at(),
            replaces: core.replaces,
        })
    }

    /// Checks who connects, or who answered. `certified` is the node number in the certificate,
    /// where the transport knows it.
    ///
    /// # Errors
    /// The reason to have nothing to do with that node.
    pub fn admit(&self, hello: &Hello, certified: Option<NodeId>) -> Result<(), Rebuff> {
        let core = &self.0;
        if hello.protocol != PROTOCOL_VERSION {
            return Err(Rebuff::for_good(format!(
                "it speaks version {} of the peer protocol, this node version {PROTOCOL_VERSION}",
                hello.protocol
            )));
        }
        if let Some(certified) = certified
            && certified != hello.node
        {
            return Err(Rebuff::for_good(format!(
                "its certificate is for node {certified}, but it says it is node {}",
                hello.node
            )));
        }
        if hello.node == core.id && hello.boot != core.boot {
            return Err(Rebuff::for_good(format!(
                "node number {} is in use by another process",
                core.id
            )));
        }
        let replica = self.replica().map_err(Rebuff::for_now)?;
        if let (Some(own), Some(other)) = (replica.cluster(), &hello.cluster)
            && own != *other
        {
            return Err(Rebuff::for_good(format!(
                "it belongs to cluster {other}, this node to {own}"
            )));
        }
        // Whoever replaces a member is a stranger here until the leader has taken it in.
        if hello.replaces || hello.seated_at > replica.membership_index() {
            return Ok(());
        }
        match replica.member(hello.node) {
            Some(known) if known.incarnation != hello.identity.incarnation => {
                Err(Rebuff::for_good(number_in_use(hello.node, &known.address)))
            }
            _ => Ok(()),
        }
    }

    /// Whether this is the node that has its number, and not one that wants to take its place.
    pub(crate) fn is_itself(&self, hello: &Hello) -> bool {
        let member = self
            .replica()
            .ok()
            .and_then(|replica| replica.member(hello.node));
        member.is_none_or(|member| member.incarnation == hello.identity.incarnation)
    }

    /// A node was heard of that may have been out of reach: replication to it need not wait for
    /// its next attempt.
    pub async fn came_back(&self, node: NodeId) {
        // Raft may have stopped.
        drop(self.0.raft.trigger().reset_backoff([node]).await);
    }

    /// Log entries from the leader.
    ///
    /// # Errors
    /// One line on why this node cannot say.
    pub async fn append(
        &self,
        request: AppendEntriesRequest<TypeConfig>,
    ) -> Result<AppendEntriesResponse<TypeConfig>, String> {
        let raft = &self.0.raft;
        let answered = raft.append_entries(request).await;
        if let (Ok(_), Some(replica)) = (&answered, self.0.replica.upgrade()) {
            replica.leader_heard.now();
        }
        answered.map_err(|error| error.to_string())
    }

    /// A heartbeat, a vote or a transfer.
    ///
    /// # Errors
    /// One line on why this node cannot say.
    pub async fn control(&self, ask: ControlAsk) -> Result<ControlTell, String> {
        let raft = &self.0.raft;
        match ask {
            ControlAsk::Heartbeat(request) => {
                self.append(request).await.map(ControlTell::Heartbeat)
            }
            ControlAsk::Vote(request) => raft
                .vote(request)
                .await
                .map(ControlTell::Vote)
                .map_err(|error| error.to_string()),
            ControlAsk::PreVote(request) => raft
                .pre_vote(request)
                .await
                .map(ControlTell::Vote)
                .map_err(|error| error.to_string()),
            ControlAsk::Transfer(_) if self.replica()?.quarantined() => {
                Err("this node's state is wrong; it must not lead".into())
            }
            ControlAsk::Transfer(request) => raft
                .handle_transfer_leader(request)
                .await
                .map(ControlTell::Transfer)
                .map_err(|error| error.to_string()),
        }
    }

    /// Whatever replicas ask each other.
    ///
    /// # Errors
    /// Why there is no answer, and whether anything was started.
    pub async fn ask(&self, ask: Ask) -> Result<Tell, Refusal> {
        let replica = self
            .replica()
            .map_err(|reason| Refusal::untouched(Failure::new(FailureCode::NoLeader, reason)))?;
        replica.serve(ask).await
    }

    /// A snapshot begins.
    ///
    /// # Errors
    /// This node's disk does not take it.
    pub fn receive_snapshot(&self, head: SnapshotHead) -> io::Result<SnapshotReceiver> {
        tracing::info!(
            upto = head.meta.last_log_id.as_ref().map(openraft::LogId::index),
            "receiving a snapshot"
        );
        Ok(SnapshotReceiver {
            raft: self.0.raft.clone(),
            head,
            spool: Spool::create(&self.0.spool)?,
        })
    }
}

/// A snapshot that is coming in. Dropping it forgets what came.
pub struct SnapshotReceiver {
    raft: Raft,
    head: SnapshotHead,
    spool: Spool,
}

impl fmt::Debug for SnapshotReceiver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SnapshotReceiver")
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}

impl SnapshotReceiver {
    /// The next chunk.
    ///
    /// # Errors
    /// This node's disk does not take it.
    pub fn chunk(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.spool.push(chunk)
    }

    /// All chunks came: installs the snapshot.
    pub async fn finish(self) -> SnapshotTell {
        let file = self.spool.finish().map_err(|error| error.to_string())?;
        let snapshot = Snapshot {
            meta: self.head.meta,
            snapshot: SnapshotData::Received(ReceivedSnapshot(file)),
        };
        self.raft
            .install_full_snapshot(self.head.vote, snapshot)
            .await
            .map_err(|error| error.to_string())
    }
}
