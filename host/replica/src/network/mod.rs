//! How nodes reach each other: the seam that a simulator replaces, and what stands behind it on
//! the receiving side.
//!
//! The transport knows nothing of Raft's rules, and Raft nothing of connections.

mod frames;
pub mod quic;

mod service;

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

pub use frames::{
    Answer, Ask, ControlAsk, ControlTell, Hello, Joiner, Meeting, Opening, PROTOCOL_VERSION,
    Question, Rebuff, Refusal, SnapshotHead, SnapshotMeta, SnapshotPart, SnapshotTell, Tell,
};
use hostd_protocol::NodeId;
use openraft::network::{RaftNetworkFactory, v2::RaftNetworkV2};
pub(crate) use service::Core;
pub use service::{PeerService, SnapshotReceiver};

use crate::{
    state_machine::SnapshotData,
    types::{Node, Nodes, TypeConfig},
};

/// A future in a box.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a Raft client of the transport is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Log entries, and votes.
    Append,
    /// Heartbeats.
    Control,
    /// Snapshots.
    Snapshot,
}

/// Whom to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A member.
    Member(NodeId, Node),
    /// Whoever listens at an address.
    Address(String),
}

/// Carries messages between nodes.
pub trait Transport: Send + Sync + 'static {
    /// A client of Raft's messages to one node.
    type Network: RaftNetworkV2<TypeConfig, SnapshotData = SnapshotData>;

    /// From now on messages from other nodes are given to `service`.
    fn start(&self, service: PeerService);

    /// A client for `target`. Makes no connection yet.
    fn network(&self, target: NodeId, node: &Node, lane: Lane) -> Self::Network;

    /// Asks another replica. The transport gives up after `within`, and says whether the
    /// question can have reached the other side.
    fn ask(
        &self,
        whom: Destination,
        ask: Ask,
        within: Duration,
    ) -> BoxFuture<Result<Tell, Refusal>>;

    /// The membership is now this: whoever is not in it any more, or listens elsewhere, is not
    /// to be talked to as before.
    fn members_changed(&self, nodes: &Nodes) {
        let _ = nodes;
    }

    /// How long a round trip to each member takes at present that there is a connection to.
    fn round_trips(&self) -> Vec<(NodeId, Duration)> {
        Vec::new()
    }

    /// Takes over a QUIC connection that a peer has made; `node` is the number in its
    /// certificate. Only a transport over QUIC expects any.
    fn accept(&self, node: NodeId, connection: quinn::Connection) {
        tracing::warn!(node, "a connection came that this transport does not use");
        hostd_quic::Close::Refused.close(&connection, "peers do not meet over QUIC here");
    }

    /// Nothing more is sent, and what comes is refused.
    fn stop(&self);
}

/// Raft's way to its clients.
pub(crate) struct Factory<T>(pub(crate) Arc<T>);

impl<T: Transport> RaftNetworkFactory<TypeConfig> for Factory<T> {
    type Network = T::Network;

    async fn new_client(&mut self, target: NodeId, node: &Node) -> T::Network {
        self.0.network(target, node, Lane::Append)
    }

    async fn new_heartbeat_client(&mut self, target: NodeId, node: &Node) -> T::Network {
        self.0.network(target, node, Lane::Control)
    }

    async fn new_snapshot_client(&mut self, target: NodeId, node: &Node) -> T::Network {
        self.0.network(target, node, Lane::Snapshot)
    }
}
