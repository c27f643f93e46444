//! A make-believe cluster behind real gateways: nodes share one state, as if replication were
//! instant. Between client and node stands a proxy that can lose datagrams.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

pub mod proxy;

use std::collections::HashMap;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::stream::Pending;
use hostd_client::{Builder, Client, Credentials};
use hostd_gateway::{Caller, Doors, Gateway, Limits, Service};
use hostd_pki::Authority;
use hostd_protocol::{
    Access, Call, CallError, CommandDescription, EngineIdentity, Failure, FailureCode, Health,
    Member, NodeId, NodeStatus, Once, Outcome, PluginDescription, PluginStatus, Rejection,
    RejectionCode, Reply, Request, Response, Role, Watch, WatchItem,
};
use proxy::Proxy;
use quinn::Endpoint;
use tempfile::TempDir;
use tokio::sync::watch;

/// How long a test waits for what must happen before it fails: long, for machines that are busy
/// with other things. Nothing that works comes near it.
pub const WITHIN: Duration = Duration::from_mins(2);

/// A cluster of nodes 1 to N.
pub struct World {
    pub pki: TempDir,
    pub cluster: Arc<FakeCluster>,
    pub nodes: Vec<FakeNode>,
}

/// One node: its gateway, and the proxy that clients go through.
pub struct FakeNode {
    pub id: NodeId,
    pub proxy: Proxy,
    pub seen: Arc<Seen>,
    pub endpoint: Endpoint,
    gateway: Gateway,
    /// Where the gateway really listens.
    pub address: SocketAddr,
}

/// What reached one node.
#[derive(Default)]
pub struct Seen {
    pub calls: AtomicUsize,
    pub requests: Mutex<Vec<String>>,
    /// Answers nothing, as a node that forwards to a leader that is dead.
    pub stuck: AtomicBool,
    /// Answers nothing at all, though its connections live.
    pub mute: AtomicBool,
    /// Answers every call with this.
    pub failure: Mutex<Option<FailureCode>>,
}

impl World {
    pub async fn new(count: u64) -> Self {
        let pki = TempDir::new().unwrap();
        let authority = Authority::init(pki.path()).unwrap();
        let cluster = Arc::new(FakeCluster::default());
        let mut nodes = Vec::new();
        for id in 1..=count {
            authority.issue_node(id).unwrap();
            nodes.push(FakeNode::start(&pki, &cluster, id, "127.0.0.1:0".parse().unwrap()).await);
        }
        cluster.state().leader = 1;
        cluster.state().members = nodes
            .iter()
            .map(|node| (node.id, node.proxy.address().to_string()))
            .collect();
        Self {
            pki,
            cluster,
            nodes,
        }
    }

    pub fn node(&self, id: NodeId) -> &FakeNode {
        &self.nodes[usize::try_from(id).unwrap() - 1]
    }

    pub fn credentials(&self) -> Credentials {
        Credentials::from_dir_client(self.pki.path(), "admin").unwrap()
    }

    /// A client that is given these nodes' addresses.
    pub fn builder(&self, ids: &[NodeId]) -> Builder {
        Client::builder()
            .credentials(self.credentials())
            .servers(
                ids.iter()
                    .map(|id| self.node(*id).proxy.address().to_string()),
            )
            .timeout(WITHIN)
    }

    pub async fn client(&self, ids: &[NodeId]) -> Client {
        self.builder(ids).connect().await.unwrap()
    }

    /// Requests of a kind that any node saw.
    pub fn seen(&self, kind: &str) -> usize {
        self.nodes
            .iter()
            .map(|node| {
                let requests = node.seen.requests.lock().unwrap();
                requests.iter().filter(|request| *request == kind).count()
            })
            .sum()
    }
}

impl FakeNode {
    pub async fn start(
        pki: &TempDir,
        cluster: &Arc<FakeCluster>,
        id: NodeId,
        address: SocketAddr,
    ) -> Self {
        let credentials = Credentials::from_dir_node(pki.path(), id).unwrap();
        let doors = Doors::bind_quic(address, &credentials).unwrap();
        let endpoint = doors.quic.clone();
        let address = endpoint.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let gateway = Gateway::serve(
            doors,
            credentials.cluster().unwrap().to_owned(),
            Limits::default(),
            FakeService {
                id,
                cluster: cluster.clone(),
                seen: seen.clone(),
            },
            Arc::new(|_, _| {}),
        );
        Self {
            id,
            proxy: Proxy::start(address).await,
            seen,
            endpoint,
            gateway,
            address,
        }
    }

    pub fn connections(&self) -> usize {
        self.gateway.load().connections()
    }
}

/// What the nodes have in common.
#[derive(Default)]
pub struct FakeCluster {
    state: Mutex<State>,
    held: watch::Sender<bool>,
}

#[derive(Default)]
pub struct State {
    /// 0 while there is none.
    pub leader: NodeId,
    pub members: Vec<(NodeId, String)>,
    pub changes: Vec<String>,
    pub tickets: u64,
    /// By principal's key, and by session and number.
    keys: HashMap<String, Outcome>,
    sessions: HashMap<u64, Session>,
    next_session: u64,
    /// Calls that were recognised as repeated.
    pub repeated: usize,
}

#[derive(Default)]
struct Session {
    outcomes: HashMap<u64, Outcome>,
    acknowledged: u64,
}

impl FakeCluster {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Lets go of calls of `hold`.
    pub fn release(&self) {
        self.held.send_replace(true);
    }

    pub fn forget_sessions(&self) {
        self.state().sessions.clear();
    }

    pub fn open_sessions(&self) -> usize {
        self.state().sessions.len()
    }
}

impl State {
    fn write(&mut self, call: &Call) -> Outcome {
        match &call.once {
            None => self.run(call),
            Some(Once::Key(key)) => {
                if let Some(outcome) = self.keys.get(key) {
                    self.repeated += 1;
                    return outcome.clone();
                }
                let outcome = self.run(call);
                self.keys.insert(key.clone(), outcome.clone());
                outcome
            }
            Some(Once::Session {
                session,
                sequence,
                acknowledged,
            }) => {
                let reject = |code| Err(Rejection::new(code, "by the session"));
                assert!(
                    *sequence > *acknowledged,
                    "a client acknowledges what it asks"
                );
                let Some(found) = self.sessions.get_mut(session) else {
                    return reject(RejectionCode::SessionExpired);
                };
                if *sequence <= found.acknowledged {
                    return reject(RejectionCode::ReplyForgotten);
                }
                found.acknowledged = found.acknowledged.max(*acknowledged);
                let kept = found.acknowledged;
                found.outcomes.retain(|sequence, _| *sequence > kept);
                if let Some(outcome) = found.outcomes.get(sequence) {
                    self.repeated += 1;
                    return outcome.clone();
                }
                assert!(found.outcomes.len() < 4_096, "session_full");
                let outcome = self.run(call);
                let session = self.sessions.get_mut(session).unwrap();
                session.outcomes.insert(*sequence, outcome.clone());
                outcome
            }
        }
    }

    fn run(&mut self, call: &Call) -> Outcome {
        match call.command.as_str() {
            "ticket" | "hold" => {
                self.tickets += 1;
                Ok(Reply::Integer(self.tickets.cast_signed()))
            }
            "refuse" => Err(Rejection::new(
                RejectionCode::Rejected("BUSY".into()),
                "not today",
            )),
            _ => Err(Rejection::new(
                RejectionCode::UnknownCommand,
                format!("unknown command {:?}", call.command),
            )),
        }
    }
}

#[derive(Clone)]
struct FakeService {
    id: NodeId,
    cluster: Arc<FakeCluster>,
    seen: Arc<Seen>,
}

impl Service for FakeService {
    type Watching = Pending<Result<WatchItem, CallError>>;

    async fn watch(&self, _: &Caller, _: Watch) -> Result<Self::Watching, CallError> {
        Err(Failure::new(FailureCode::Unsupported, "nothing changes here").into())
    }

    async fn handle(&self, _: &Caller, request: Request) -> Result<Response, CallError> {
        let kind = match &request {
            Request::Call(call) => call.command.clone(),
            Request::OpenSession => "OpenSession".into(),
            Request::CloseSession { .. } => "CloseSession".into(),
            Request::Commands => "Commands".into(),
            Request::Status { .. } => "Status".into(),
            Request::Members => "Members".into(),
            Request::Member(_) => "Member".into(),
            Request::Plugin { .. } => "Plugin".into(),
            Request::Plugins => "Plugins".into(),
            other => format!("{other:?}"),
        };
        self.seen.requests.lock().unwrap().push(kind);
        if self.seen.mute.load(Ordering::Relaxed) {
            pending::<()>().await;
        }
        match request {
            Request::Call(call) => self.call(call).await,
            Request::OpenSession => {
                self.ready().await?;
                let mut state = self.cluster.state();
                state.next_session += 1;
                let number = state.next_session;
                state.sessions.insert(number, Session::default());
                Ok(Response::Session(number))
            }
            Request::CloseSession { session } => {
                self.cluster.state().sessions.remove(&session);
                Ok(Response::Done)
            }
            Request::Commands => Ok(Response::Commands(vec![description()])),
            Request::Members => Ok(Response::Members(self.members())),
            Request::Status { .. } => Ok(Response::Status(self.status())),
            Request::Member(change) => {
                self.ready().await?;
                self.cluster.state().changes.push(format!("{change:?}"));
                Ok(Response::Done)
            }
            Request::Plugin { change, .. } => {
                self.ready().await?;
                self.cluster.state().changes.push(format!("{change:?}"));
                Ok(Response::Reply(Reply::Ok))
            }
            Request::Plugins => Ok(Response::Plugins(Vec::new(), Box::default())),
            other => panic!("no test asks for {other:?}"),
        }
    }

    fn unproved(&self) -> Option<Arc<str>> {
        None
    }

    fn prove(&self, _: SocketAddr, _: Option<&str>, _: &str) -> Option<Arc<str>> {
        None
    }
}

impl FakeService {
    async fn call(&self, call: Call) -> Result<Response, CallError> {
        self.seen.calls.fetch_add(1, Ordering::Relaxed);
        if call.command == "echo" {
            return Ok(Response::Reply(Reply::Bytes(call.arguments[0].to_vec())));
        }
        if call.command == "node" {
            return Ok(Response::Reply(Reply::Integer(self.id.cast_signed())));
        }
        self.ready().await?;
        if call.command == "hold" {
            let mut held = self.cluster.held.subscribe();
            held.wait_for(|released| *released).await.unwrap();
        }
        let outcome = self.cluster.state().write(&call);
        outcome.map(Response::Reply).map_err(CallError::from)
    }

    /// What stands between a node and its answer.
    async fn ready(&self) -> Result<(), CallError> {
        if self.seen.stuck.load(Ordering::Relaxed) {
            pending::<()>().await;
        }
        if let Some(code) = *self.seen.failure.lock().unwrap() {
            return Err(Failure::new(code, "as told").into());
        }
        if self.cluster.state().leader == 0 {
            return Err(Failure::new(FailureCode::NoLeader, "an election is going on").into());
        }
        Ok(())
    }

    fn members(&self) -> Vec<Member> {
        let state = self.cluster.state();
        state
            .members
            .iter()
            .map(|(id, address)| Member {
                id: *id,
                address: address.clone(),
                voter: true,
                leader: *id == state.leader,
            })
            .collect()
    }

    fn status(&self) -> Vec<NodeStatus> {
        self.members()
            .into_iter()
            .map(|member| NodeStatus {
                id: member.id,
                address: format!("10.0.0.{}:11001", member.id),
                version: "0.1.0".into(),
                role: if member.leader {
                    Role::Leader
                } else {
                    Role::Follower
                },
                leader: member.leader,
                term: 3,
                first_log: 40,
                last_log: 120,
                applied: 118,
                checkpoint: 100,
                digest: "ab".repeat(32),
                engine: Some(engine(4)),
                // The last one is not upgraded yet.
                honours: match member.id {
                    3 => vec![engine(4)],
                    _ => vec![engine(4), engine(5)],
                },
                data_bytes: 3 << 20,
                health: Health::Ok,
                reachable: true,
                plugins: vec![PluginStatus {
                    name: "test".into(),
                    version: "1.2.3".into(),
                    digest: "cd".repeat(32),
                }],
            })
            .collect()
    }
}

fn description() -> PluginDescription {
    let command = |name: &str, access| CommandDescription {
        name: name.to_owned(),
        access,
        arguments: vec![],
        summary: format!("Does {name}."),
        details: String::new(),
        examples: vec![],
    };
    PluginDescription {
        name: "test".into(),
        version: "1.2.3".into(),
        summary: "For tests.".into(),
        state_version: 1,
        reads_state_versions: vec![],
        migrates_state_versions: Vec::new(),
        migrates_by_key: false,
        commands: vec![
            command("echo", Access::Read),
            command("hold", Access::Write),
            command("node", Access::Read),
            command("refuse", Access::Write),
            command("ticket", Access::Write),
        ],
    }
}

pub fn integer(reply: Reply) -> i64 {
    match reply {
        Reply::Integer(value) => value,
        other => panic!("{other:?}"),
    }
}

/// Waits for a condition that another task brings about; a test that fails hangs no longer than
/// the deadline.
pub async fn eventually(mut condition: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + WITHIN;
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "never came true");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn engine(rules: u32) -> EngineIdentity {
    EngineIdentity {
        wasmtime: "48.0.8".into(),
        target: "x86_64-unknown-linux-gnu".into(),
        rules,
    }
}
