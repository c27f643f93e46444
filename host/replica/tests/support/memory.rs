//! A network without wires: messages are encoded, carried and decoded within the process, unless
//! the way is cut.

use std::{
    collections::{HashMap, HashSet},
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use hostd_protocol::{Failure, FailureCode, NodeId, codec};
use hostd_replica::{
    SnapshotData,
    network::{
        Ask, BoxFuture, ControlAsk, ControlTell, Destination, Lane, PeerService, Refusal,
        SnapshotHead, Tell, Transport,
    },
    types::{CommittedLeaderId, Node, TypeConfig, Vote},
};
use openraft::{
    Snapshot,
    errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::{RPCOption, v2::RaftNetworkV2},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
        TransferLeaderResponse, VoteRequest, VoteResponse,
    },
};
use serde::{Serialize, de::DeserializeOwned};

/// The ether.
#[derive(Clone, Default)]
pub struct Hub(Arc<Mutex<Ether>>);

#[derive(Default)]
struct Ether {
    nodes: HashMap<NodeId, (String, PeerService)>,
    cut: HashSet<(NodeId, NodeId)>,
}

impl Hub {
    pub fn transport(&self, id: NodeId, address: &str) -> MemoryTransport {
        MemoryTransport {
            hub: self.clone(),
            id,
            address: address.to_owned(),
        }
    }

    /// Nothing passes between `id` and anybody.
    pub fn isolate(&self, id: NodeId) {
        let mut ether = self.0.lock().unwrap();
        for other in 1..20 {
            ether.cut.insert((id, other));
            ether.cut.insert((other, id));
        }
    }

    /// Nothing passes between these two.
    pub fn cut(&self, one: NodeId, other: NodeId) {
        let mut ether = self.0.lock().unwrap();
        ether.cut.extend([(one, other), (other, one)]);
    }

    pub fn heal(&self) {
        self.0.lock().unwrap().cut.clear();
    }

    fn service(&self, from: NodeId, to: NodeId) -> Option<PeerService> {
        let ether = self.0.lock().unwrap();
        if ether.cut.contains(&(from, to)) {
            return None;
        }
        ether.nodes.get(&to).map(|(_, service)| service.clone())
    }
}

pub struct MemoryTransport {
    hub: Hub,
    id: NodeId,
    address: String,
}

pub struct MemoryNetwork {
    hub: Hub,
    id: NodeId,
    target: NodeId,
    expected: Node,
}

/// Through the wire and back.
fn carry<T: Serialize + DeserializeOwned>(message: &T) -> T {
    codec::decode(&codec::encode(message)).expect("every message can be carried")
}

impl MemoryNetwork {
    fn service(&self) -> Result<PeerService, RPCError<TypeConfig>> {
        let unreachable = |reason: String| RPCError::Unreachable(Unreachable::from_string(reason));
        let service = self
            .hub
            .service(self.id, self.target)
            .ok_or_else(|| unreachable("cut".into()))?;
        let hello = service.hello().map_err(unreachable)?;
        if hello.identity.incarnation != self.expected.incarnation {
            return Err(unreachable("another incarnation".into()));
        }
        // What the other side checks when somebody connects.
        let own = self.hub.0.lock().unwrap().nodes.get(&self.id).cloned();
        let own = own.ok_or_else(|| unreachable("stopped".into()))?.1;
        let own = own.hello().map_err(unreachable)?;
        service
            .admit(&own, Some(self.id))
            .map_err(|rebuff| unreachable(rebuff.reason))?;
        Ok(service)
    }

    /// An answer counts only if the way is still open when it comes.
    fn back<T>(&self, answer: Result<T, String>) -> Result<T, RPCError<TypeConfig>> {
        self.service()?;
        answer.map_err(|reason| RPCError::Network(NetworkError::from_string(reason)))
    }

    async fn control(&self, ask: ControlAsk) -> Result<ControlTell, RPCError<TypeConfig>> {
        let answer = self.service()?.control(carry(&ask)).await;
        self.back(answer).map(|tell| carry(&tell))
    }
}

fn mismatch() -> RPCError<TypeConfig> {
    RPCError::Network(NetworkError::from_string("another answer"))
}

impl RaftNetworkV2<TypeConfig> for MemoryNetwork {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let service = self.service()?;
        let answer = tokio::time::timeout(option.hard_ttl() * 10, service.append(carry(&request)));
        let answer = answer.await.unwrap_or_else(|_| Err("no answer".into()));
        self.back(answer).map(|answer| carry(&answer))
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        match self.control(ControlAsk::Vote(request)).await? {
            ControlTell::Vote(response) => Ok(response),
            _ => Err(mismatch()),
        }
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        match self.control(ControlAsk::PreVote(request)).await? {
            ControlTell::Vote(response) => Ok(response),
            _ => Err(mismatch()),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        match self.control(ControlAsk::Transfer(request)).await? {
            ControlTell::Transfer(response) => Ok(response),
            _ => Err(mismatch()),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<CommittedLeaderId, NodeId, Node, SnapshotData>,
        _: impl Future<Output = ReplicationClosed> + Send + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let SnapshotData::Outgoing(reader) = snapshot.snapshot else {
            panic!("nothing to send");
        };
        let head = SnapshotHead {
            group: 0,
            vote,
            meta: snapshot.meta,
        };
        let mut receiver = self.service()?.receive_snapshot(carry(&head)).unwrap();
        for chunk in reader {
            self.service()?;
            receiver.chunk(&chunk.unwrap()).unwrap();
            tokio::task::yield_now().await;
        }
        let answer = receiver.finish().await;
        Ok(self.back(answer)?)
    }
}

impl Transport for MemoryTransport {
    type Network = MemoryNetwork;

    fn start(&self, service: PeerService) {
        let mut ether = self.hub.0.lock().unwrap();
        ether.nodes.insert(self.id, (self.address.clone(), service));
    }

    fn network(&self, target: NodeId, node: &Node, _: Lane) -> MemoryNetwork {
        MemoryNetwork {
            hub: self.hub.clone(),
            id: self.id,
            target,
            expected: node.clone(),
        }
    }

    fn ask(
        &self,
        whom: Destination,
        ask: Ask,
        within: Duration,
    ) -> BoxFuture<Result<Tell, Refusal>> {
        let (hub, from) = (self.hub.clone(), self.id);
        Box::pin(async move {
            let to = match &whom {
                Destination::Member(id, _) => Some(*id),
                Destination::Address(address) => {
                    let ether = hub.0.lock().unwrap();
                    let found = ether.nodes.iter().find(|(_, (known, _))| known == address);
                    found.map(|(id, _)| *id)
                }
            };
            let untouched =
                |reason: &str| Refusal::untouched(Failure::new(FailureCode::NoLeader, reason));
            let services = to.and_then(|to| {
                let own = hub.0.lock().unwrap().nodes.get(&from)?.1.clone();
                Some((to, own, hub.service(from, to)?))
            });
            let Some((to, own, service)) = services else {
                return Err(untouched("nobody is there"));
            };
            // What two nodes tell each other when they connect.
            let hello = own.hello().map_err(|reason| untouched(&reason))?;
            if let Err(rebuff) = service.admit(&hello, Some(from)) {
                return Err(Refusal::untouched(Failure::new(
                    FailureCode::InvalidArgument,
                    rebuff.reason,
                )));
            }
            let answer = tokio::time::timeout(within, service.ask(carry(&ask))).await;
            let lost =
                || Refusal::unknown(Failure::new(FailureCode::Timeout, "the answer was lost"));
            let answer = answer.map_err(|_| lost())?;
            if hub.service(from, to).is_none() {
                return Err(lost());
            }
            answer.map(|tell| carry(&tell))
        })
    }

    fn stop(&self) {
        self.hub.0.lock().unwrap().nodes.remove(&self.id);
    }
}
