//! Peers over QUIC: one connection in each direction that something is said, made when it is
//! needed and made anew when it is lost.
//!
//! The endpoint is the node's only UDP socket and belongs to somebody else, who also accepts
//! connections and hands over those of peers ([`QuicTransport::accept_peer`]).

mod append;
mod link;
mod mux;
mod serve;
mod snapshot;

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{Stream, StreamExt, stream};
use hostd_protocol::{Failure, FailureCode, NodeId};
use openraft::{
    RPCTypes, Snapshot,
    errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable},
    network::{RPCOption, stream_append_sequential, v2::RaftNetworkV2},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
        TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
    },
};
use thiserror::Error;
use tokio::sync::watch;

use self::{
    append::AppendStream,
    link::{Link, Peer, Target},
};
use super::{
    Ask, BoxFuture, ControlAsk, ControlTell, Destination, Lane, PeerService, Refusal, Tell,
    Transport,
};
use crate::{
    state_machine::SnapshotData,
    types::{CommittedLeaderId, Node, Nodes, TypeConfig, Vote},
};

/// Priorities of the classes of streams: what comes first when there is more to send than the
/// network takes.
mod priority {
    pub(super) const CONTROL: i32 = 3;
    pub(super) const APPEND: i32 = 2;
    pub(super) const FORWARD: i32 = 1;
    pub(super) const SNAPSHOT: i32 = -1;
}

/// Settings for dialling the node with this number, or any node of the cluster.
pub type Dial = Arc<dyn Fn(Option<NodeId>) -> Result<quinn::ClientConfig, String> + Send + Sync>;

/// Carries messages between nodes over QUIC. Cloning is cheap; all clones are the same transport.
#[derive(Clone)]
pub struct QuicTransport(Arc<Shared>);

pub(crate) struct Shared {
    endpoint: quinn::Endpoint,
    dial: Dial,
    service: watch::Sender<Option<PeerService>>,
    peers: Mutex<HashMap<Target, Arc<Peer>>>,
    stopped: AtomicBool,
}

impl fmt::Debug for QuicTransport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("QuicTransport")
            .finish_non_exhaustive()
    }
}

/// Why a peer gave no answer.
#[derive(Clone, Debug, Error)]
pub(crate) enum Lost {
    /// It cannot be reached; nothing was sent.
    #[error("{0}")]
    Unreachable(String),
    /// The connection was lost, or it took too long; the question may have arrived.
    #[error("{0}")]
    Broken(String),
    /// It has answered that it cannot say.
    #[error("{0}")]
    Refused(String),
    /// It wants nothing to do with this node, or this node with it, and that will not change.
    #[error("{0}")]
    Unwelcome(String),
}

impl QuicTransport {
    /// A transport that dials from `endpoint`, with the certificates and settings that `dial`
    /// gives.
    pub fn new(endpoint: quinn::Endpoint, dial: Dial) -> Self {
        Self(Arc::new(Shared {
            endpoint,
            dial,
            service: watch::Sender::new(None),
            peers: Mutex::default(),
            stopped: AtomicBool::new(false),
        }))
    }

    /// Takes over a connection that a peer has made. `node` is the number in its certificate.
    pub fn accept_peer(&self, node: NodeId, connection: quinn::Connection) {
        tokio::spawn(serve::connection(self.clone(), node, connection));
    }

    fn peer(&self, target: Target) -> Arc<Peer> {
        let mut peers = self.lock();
        let peer = peers
            .entry(target.clone())
            .or_insert_with(|| Arc::new(Peer::new(target)));
        Arc::clone(peer)
    }

    fn member(&self, id: NodeId, node: &Node) -> Arc<Peer> {
        let peer = self.peer(Target::Member(id));
        peer.expect(node);
        peer
    }

    async fn link(&self, peer: &Arc<Peer>) -> Result<Arc<Link>, Lost> {
        if self.0.stopped.load(Ordering::Relaxed) {
            return Err(Lost::Unreachable("this node is stopping".into()));
        }
        Peer::link(peer, self).await
    }

    fn service(&self) -> Result<PeerService, Lost> {
        let service = self.0.service.borrow().clone();
        service.ok_or_else(|| Lost::Unreachable("this node is starting".into()))
    }

    /// A process of `node` with this boot number is alive: connections to another one are not.
    async fn heard_of(&self, node: NodeId, boot: u64) {
        let peer = self.lock().get(&Target::Member(node)).cloned();
        if let Some(peer) = peer {
            peer.heard_of(boot);
        }
        if let Ok(service) = self.service() {
            service.came_back(node).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Target, Arc<Peer>>> {
        self.0.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transport for QuicTransport {
    type Network = QuicNetwork;

    fn start(&self, service: PeerService) {
        self.0.service.send_replace(Some(service));
    }

    fn network(&self, target: NodeId, node: &Node, lane: Lane) -> QuicNetwork {
        QuicNetwork {
            transport: self.clone(),
            target,
            peer: self.member(target, node),
            lane,
            append: None,
        }
    }

    fn ask(
        &self,
        whom: Destination,
        ask: Ask,
        within: Duration,
    ) -> BoxFuture<Result<Tell, Refusal>> {
        let transport = self.clone();
        Box::pin(async move {
            let peer = match &whom {
                Destination::Member(id, node) => transport.member(*id, node),
                Destination::Address(address) => transport.peer(Target::Address(address.clone())),
            };
            let deadline = tokio::time::Instant::now() + within;
            let link = tokio::time::timeout_at(deadline, transport.link(&peer)).await;
            let link = match link {
                Ok(Ok(link)) => link,
                Ok(Err(Lost::Unwelcome(reason))) => {
                    return Err(Refusal::untouched(Failure::new(
                        FailureCode::InvalidArgument,
                        reason,
                    )));
                }
                Ok(Err(lost)) => return Err(untouched(&lost.to_string())),
                Err(_) => return Err(untouched("it does not answer")),
            };
            let forward = match tokio::time::timeout_at(deadline, link.forward()).await {
                Ok(Ok(forward)) => forward,
                Ok(Err(lost)) => return Err(untouched(&lost.to_string())),
                Err(_) => return Err(untouched("it does not answer")),
            };
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            let answer = forward.call::<Ask, Result<Tell, Refusal>>(ask, left).await;
            match answer {
                Ok(answer) => answer,
                Err(Lost::Unreachable(reason)) => Err(untouched(&reason)),
                Err(lost) => Err(Refusal::unknown(Failure::new(
                    FailureCode::Timeout,
                    format!("the leader was lost while it had the request: {lost}"),
                ))),
            }
        })
    }

    fn accept(&self, node: NodeId, connection: quinn::Connection) {
        self.accept_peer(node, connection);
    }

    fn round_trips(&self) -> Vec<(NodeId, Duration)> {
        let peers = self.lock();
        peers
            .values()
            .filter_map(|peer| peer.round_trip())
            .collect()
    }

    fn members_changed(&self, nodes: &Nodes) {
        let mut peers = self.lock();
        peers.retain(|target, peer| match target {
            // What was needed to find the members.
            Target::Address(_) => {
                peer.close("the members are known");
                false
            }
            Target::Member(id) => {
                let node = nodes.get(id);
                match node {
                    Some(node) => peer.expect(node),
                    None => peer.close("it is not a member any more"),
                }
                node.is_some()
            }
        });
    }

    fn stop(&self) {
        self.0.stopped.store(true, Ordering::Relaxed);
        let peers = std::mem::take(&mut *self.lock());
        for peer in peers.values() {
            peer.close("the node stops");
        }
        // Connections that peers made are closed by their tasks, which watch this.
        self.0.service.send_replace(None);
    }
}

fn untouched(reason: &str) -> Refusal {
    Refusal::untouched(Failure::new(
        FailureCode::NoLeader,
        format!("the node to ask cannot be reached: {reason}"),
    ))
}

/// A client of Raft's messages to one node.
pub struct QuicNetwork {
    transport: QuicTransport,
    target: NodeId,
    peer: Arc<Peer>,
    lane: Lane,
    append: Option<AppendStream>,
}

impl fmt::Debug for QuicNetwork {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("QuicNetwork")
            .field("target", &self.target)
            .field("lane", &self.lane)
            .finish_non_exhaustive()
    }
}

type RaftError = RPCError<TypeConfig>;

impl QuicNetwork {
    async fn control(&self, ask: ControlAsk, option: &RPCOption) -> Result<ControlTell, RaftError> {
        let within = option.soft_ttl();
        let deadline = tokio::time::Instant::now() + within;
        let link = tokio::time::timeout_at(deadline, self.transport.link(&self.peer))
            .await
            .map_err(|_| unreachable("it does not answer"))?
            .map_err(rpc_error)?;
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        let answer = link.control().call(ask, left).await;
        if answer.is_err() {
            link.suspect();
        }
        answer.map_err(rpc_error)
    }

    fn mismatched() -> RaftError {
        network("the answer is to another question")
    }

    fn timeout(&self, action: RPCTypes, timeout: Duration) -> RaftError {
        RPCError::Timeout(Timeout {
            action,
            // Only for people, who know which node they are looking at.
            id: 0,
            target: self.target,
            timeout,
        })
    }
}

fn rpc_error(lost: Lost) -> RaftError {
    match lost {
        Lost::Unreachable(reason) | Lost::Unwelcome(reason) => unreachable(&reason),
        Lost::Broken(reason) | Lost::Refused(reason) => network(&reason),
    }
}

fn unreachable(reason: &str) -> RaftError {
    RPCError::Unreachable(Unreachable::from_string(reason))
}

fn network(reason: &str) -> RaftError {
    RPCError::Network(NetworkError::from_string(reason))
}

impl RaftNetworkV2<TypeConfig> for QuicNetwork {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RaftError> {
        match self
            .control(ControlAsk::Heartbeat(request), &option)
            .await?
        {
            ControlTell::Heartbeat(response) => Ok(response),
            _ => Err(Self::mismatched()),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> openraft::base::BoxFuture<
        's,
        Result<
            openraft::base::BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RaftError>>,
            RaftError,
        >,
    >
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
    {
        if self.lane == Lane::Control {
            return stream_append_sequential(self, input, option);
        }
        Box::pin(async move {
            let mut input = input;
            // Raft waits between its attempts inside of this stream, so it must be asked for a
            // request before an attempt can fail.
            let Some(first) = input.next().await else {
                let nothing: openraft::base::BoxStream<'s, _> = Box::pin(stream::empty());
                return Ok(nothing);
            };
            let idle = append::idle_timeout(&option);
            let opened = tokio::time::timeout(idle, self.append_stream()).await;
            match opened {
                Ok(Ok(())) => {}
                Ok(Err(lost)) => return Err(rpc_error(lost)),
                Err(_) => return Err(self.timeout(RPCTypes::AppendEntries, idle)),
            }
            let session: openraft::base::BoxStream<'s, _> =
                Box::pin(append::Session::new(&mut self.append, first, input, idle));
            Ok(session)
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RaftError> {
        match self.control(ControlAsk::Vote(request), &option).await? {
            ControlTell::Vote(response) => Ok(response),
            _ => Err(Self::mismatched()),
        }
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RaftError> {
        match self.control(ControlAsk::PreVote(request), &option).await? {
            ControlTell::Vote(response) => Ok(response),
            _ => Err(Self::mismatched()),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RaftError> {
        match self.control(ControlAsk::Transfer(request), &option).await? {
            ControlTell::Transfer(response) => Ok(response),
            _ => Err(Self::mismatched()),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<CommittedLeaderId, NodeId, Node, SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let SnapshotData::Outgoing(reader) = snapshot.snapshot else {
            return Err(rpc_error(Lost::Broken("there is nothing to send".into())).into());
        };
        let link = self.transport.link(&self.peer).await.map_err(rpc_error)?;
        let sent = snapshot::send(&link, vote, snapshot.meta, reader);
        tokio::select! {
            closed = cancel => Err(closed.into()),
            sent = tokio::time::timeout(option.hard_ttl(), sent) => match sent {
                Ok(Ok(response)) => Ok(response),
                Ok(Err(lost)) => Err(rpc_error(lost).into()),
                Err(_) => Err(self.timeout(RPCTypes::InstallSnapshot, option.hard_ttl()).into()),
            },
        }
    }
}

impl QuicNetwork {
    /// Opens the stream for entries, unless it is open.
    async fn append_stream(&mut self) -> Result<(), Lost> {
        if self.append.as_ref().is_some_and(AppendStream::is_open) {
            return Ok(());
        }
        let link = self.transport.link(&self.peer).await?;
        self.append = Some(AppendStream::open(link).await?);
        Ok(())
    }
}
