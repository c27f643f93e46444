//! A node's share of the cluster: its log, its machine, its place among the others.

mod calls;
mod leadership;
mod open;
mod order;
mod serve;

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use hostd_machine::{Rehearsals, Views};
use hostd_protocol::{EngineIdentity, Failure, FailureCode, NodeId, Watch};
use openraft::{ServerState, async_runtime::WatchReceiver};
use tokio::{sync::watch, task::JoinSet, time::Instant};

pub(crate) use self::calls::{no_quorum, remaining};
pub use self::open::OpenError;
use crate::{
    apply::{ApplyHandle, Progress},
    config::{Clock, ReplicaConfig},
    enroll::Enroller,
    heard::Heard,
    log_store::LogStore,
    log_writer::LogWriter,
    measure::Measures,
    membership,
    network::{Ask, BoxFuture, Destination, Refusal, Tell, Transport},
    prepare::Prepared,
    propose::{Proposer, stopped},
    read_index::ReadIndex,
    room::Shortage,
    state_machine::StateMachine,
    types::{Node, Nodes, StoredMembership, TypeConfig},
    verify::Audits,
    watch::{Hub, Watching},
};

/// Raft, running hostd's machine.
pub(crate) type Raft = openraft::Raft<TypeConfig, StateMachine>;

/// How long a node that is asked who or how it is may take.
pub(crate) const ASK_TIMEOUT: Duration = Duration::from_secs(1);

/// A running replica. Cloning is cheap; all clones are the same replica. When the last one is
/// dropped the replica stops as if its process had died, which loses nothing that was
/// acknowledged; [`Replica::shutdown`] stops it with care.
#[derive(Clone)]
pub struct Replica {
    inner: Arc<ReplicaInner>,
    /// `None` in the replica's own tasks, which must not keep it alive.
    _running: Option<Arc<Running>>,
}

/// Stops the replica when dropped.
struct Running(Arc<ReplicaInner>);

impl Drop for Running {
    fn drop(&mut self) {
        let inner = Arc::clone(&self.0);
        inner.asks.stop();
        // Without a runtime nothing of it runs any more.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { inner.stop().await });
        }
    }
}

pub(crate) struct ReplicaInner {
    pub(crate) config: ReplicaConfig,
    pub(crate) node: Node,
    pub(crate) raft: Raft,
    pub(crate) views: Views,
    hub: Arc<Hub>,
    pub(crate) progress: Progress,
    pub(crate) proposer: Proposer,
    pub(crate) clock: Clock,
    pub(crate) changing: tokio::sync::Mutex<()>,
    pub(crate) shortage: Shortage,
    pub(crate) prepared: Prepared,
    pub(crate) rehearsals: Rehearsals,
    pub(crate) audits: Audits,
    /// Answers new nodes whose requests others pass on.
    pub(crate) enroller: OnceLock<Enroller>,
    /// One snapshot for people at a time.
    pub(crate) taking_snapshot: tokio::sync::Mutex<()>,
    pub(crate) measures: Arc<Measures>,
    /// One look back at a time.
    pub(crate) looking_back: tokio::sync::Mutex<()>,
    reads: Arc<ReadIndex>,
    pub(crate) log: LogStore,
    writer: Arc<LogWriter>,
    pub(crate) apply: Arc<ApplyHandle>,
    asks: Box<dyn Asks>,
    last_checkpoint: Mutex<LastCheckpoint>,
    pub(crate) leader_heard: Heard,
    fault: watch::Sender<Option<String>>,
    leadership: watch::Sender<Leadership>,
    tasks: Mutex<JoinSet<()>>,
}

/// Who leads, as this node knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// The leader and its address.
    pub leader: Option<(NodeId, String)>,
    /// Whether it is this node.
    pub here: bool,
    /// The term.
    pub term: u64,
}

#[derive(Clone, Copy, Debug)]
struct LastCheckpoint {
    index: u64,
    at: Instant,
    logged_bytes: u64,
}

/// The part of a transport that the replica itself uses.
trait Asks: Send + Sync {
    fn ask(
        &self,
        whom: Destination,
        ask: Ask,
        within: Duration,
    ) -> BoxFuture<Result<Tell, Refusal>>;
    fn accept(&self, node: NodeId, connection: quinn::Connection);
    fn members_changed(&self, nodes: &Nodes);
    fn round_trips(&self) -> Vec<(NodeId, Duration)>;
    fn stop(&self);
}

impl<T: Transport> Asks for Arc<T> {
    fn ask(
        &self,
        whom: Destination,
        ask: Ask,
        within: Duration,
    ) -> BoxFuture<Result<Tell, Refusal>> {
        Transport::ask(&**self, whom, ask, within)
    }

    fn accept(&self, node: NodeId, connection: quinn::Connection) {
        Transport::accept(&**self, node, connection);
    }

    fn members_changed(&self, nodes: &Nodes) {
        Transport::members_changed(&**self, nodes);
    }

    fn round_trips(&self) -> Vec<(NodeId, Duration)> {
        Transport::round_trips(&**self)
    }

    fn stop(&self) {
        Transport::stop(&**self);
    }
}

impl fmt::Debug for Replica {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Replica")
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

impl Replica {
    /// A handle for the replica's own use.
    pub(crate) fn from_inner(inner: Arc<ReplicaInner>) -> Self {
        Self {
            inner,
            _running: None,
        }
    }

    pub(crate) fn inner(&self) -> &ReplicaInner {
        &self.inner
    }

    /// This node's number.
    pub fn id(&self) -> NodeId {
        self.inner.config.id
    }

    /// Random number of this node's data directory.
    pub fn incarnation(&self) -> u64 {
        self.inner.node.incarnation
    }

    /// The cluster's identity, once this node has applied the founding.
    pub fn cluster(&self) -> Option<String> {
        self.inner.views.latest().cluster().map(str::to_owned)
    }

    /// Waits until this node has applied the founding of its cluster, and returns the cluster's
    /// identity.
    pub async fn founded(&self) -> String {
        let mut applied = self.inner.progress.applied_next.clone();
        let known = applied.wait_for(|_| self.cluster().is_some()).await.is_ok();
        match self.cluster() {
            Some(cluster) if known => cluster,
            // Apply has stopped; whoever asked hears of the fault.
            _ => std::future::pending().await,
        }
    }

    /// Where queries find the newest state that was applied here.
    pub fn views(&self) -> Views {
        self.inner.views.clone()
    }

    /// Begins a watch of what is applied here.
    ///
    /// # Errors
    /// `compacted` when it would begin further back than this node knows.
    pub fn watch(&self, watch: Watch) -> Result<Watching, Failure> {
        if self.quarantined() {
            return Err(quarantined());
        }
        Watching::begin(&self.inner.hub, &self.inner.views, watch)
    }

    /// Whether this node knows a leader, which as far as it can tell has a majority.
    pub(crate) fn is_in_touch(&self) -> bool {
        if self.is_leader() {
            self.has_quorum()
        } else {
            self.inner.leadership.borrow().leader.is_some()
        }
    }

    pub(crate) fn cut_watchers(&self, why: Failure) {
        self.inner.hub.cut_all(why);
    }

    /// How many watches there are on this node.
    pub fn watchers(&self) -> usize {
        self.inner.hub.watchers()
    }

    /// Index of the last entry that is applied here and visible in [`Replica::views`].
    pub fn applied_index(&self) -> u64 {
        self.inner.progress.applied_next.borrow().saturating_sub(1)
    }

    /// The members as of the last entry that was applied here; changes can be awaited.
    pub fn membership(&self) -> watch::Receiver<Arc<StoredMembership>> {
        self.inner.progress.membership.clone()
    }

    /// The members as of the last entry that was applied here.
    pub(crate) fn applied_membership(&self) -> Arc<StoredMembership> {
        Arc::clone(&self.inner.progress.membership.borrow())
    }

    /// Who leads; changes can be awaited.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership.subscribe()
    }

    /// Waits until this node meets a fault of its own, and returns the reason. Nothing is
    /// acknowledged from then on: the process is to end, and to start anew.
    pub async fn fault(&self) -> String {
        self.fault_of().await
    }

    /// As [`Replica::fault`], without holding on to the replica.
    pub fn fault_of(&self) -> impl Future<Output = String> + Send + 'static {
        let mut fault = self.inner.fault.subscribe();
        async move { leadership::first_fault(&mut fault).await }
    }

    /// Whether this node's state was found to differ from the majority's. It then refuses reads,
    /// and does not lead.
    pub fn quarantined(&self) -> bool {
        *self.inner.progress.diverged.borrow()
    }

    /// Whether this node has the beginning of a cluster's log.
    pub fn is_initialized(&self) -> bool {
        let server = self.inner.raft.server_metrics();
        let server = server.borrow_watched();
        server.membership_config.log_id().is_some()
    }

    pub(crate) fn is_leader(&self) -> bool {
        self.inner.raft.server_metrics().borrow_watched().state == ServerState::Leader
    }

    /// What the membership holds of a node.
    pub(crate) fn member(&self, id: NodeId) -> Option<Node> {
        let server = self.inner.raft.server_metrics();
        let server = server.borrow_watched();
        server.membership_config.membership().get_node(&id).cloned()
    }

    /// The engines that this node can honour, oldest first.
    pub(crate) fn honours(&self) -> Vec<EngineIdentity> {
        self.views().latest().honours().to_vec()
    }

    /// Whether this node takes the place of a member that had its number.
    pub(crate) fn replaces(&self) -> bool {
        self.inner.config.replaces
    }

    /// Log index of the newest membership that this node knows, committed or not.
    pub(crate) fn membership_index(&self) -> Option<u64> {
        let server = self.inner.raft.server_metrics();
        let server = server.borrow_watched();
        let log_id = server.membership_config.log_id();
        log_id.as_ref().map(openraft::LogId::index)
    }

    /// The same, if that membership names this very directory.
    pub(crate) fn seated_at(&self) -> Option<u64> {
        let own = self.member(self.id())?;
        (own.incarnation == self.incarnation())
            .then(|| self.membership_index())
            .flatten()
    }

    /// What the membership holds.
    pub(crate) fn nodes(&self) -> Nodes {
        let server = self.inner.raft.server_metrics();
        let server = server.borrow_watched();
        server
            .membership_config
            .membership()
            .nodes()
            .map(|(id, node)| (*id, node.clone()))
            .collect::<BTreeMap<_, _>>()
    }

    pub(crate) async fn ask(
        &self,
        whom: Destination,
        ask: Ask,
        within: Duration,
    ) -> Result<Tell, Refusal> {
        self.inner.asks.ask(whom, ask, within).await
    }

    /// Waits until this node has applied everything that was in its log when it became leader.
    pub(crate) async fn apply_own_log(&self) -> Result<(), Refusal> {
        let index = self.read_index_here().await?;
        let mut applied = self.inner.progress.applied_next.clone();
        match applied.wait_for(|next| *next > index).await {
            Ok(_) => Ok(()),
            Err(_) => Err(stopped()),
        }
    }

    /// Hands leadership to another voter, if this node has it, and waits until another leads or
    /// `within` has passed. Returns whether this node does not lead.
    pub async fn hand_over(&self, within: Duration) -> bool {
        if !self.is_leader() {
            return true;
        }
        let deadline = Instant::now() + within;
        if let Err(refusal) = membership::transfer(self, None, deadline).await {
            tracing::info!(reason = %refusal.failure, "leadership was not handed over");
        }
        !self.is_leader()
    }

    /// Stops: nothing is proposed, applied or answered any more, and what was written is on disk.
    /// Whoever wants the others to go on without a pause calls [`Replica::hand_over`] before.
    pub async fn shutdown(&self) {
        self.inner.asks.stop();
        self.inner.stop().await;
    }
}

impl ReplicaInner {
    async fn stop(&self) {
        // Raft's own task may have ended before.
        drop(self.raft.shutdown().await);
        let mut tasks =
            std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
        let (writer, apply) = (Arc::clone(&self.writer), Arc::clone(&self.apply));
        let stop = move || {
            writer.close();
            apply.stop();
        };
        // When the runtime has ended, so has everything with it.
        let _ = self.config.mode.beside(stop).await;
    }

    /// Takes in that this node's state is the wrong one.
    pub(crate) async fn quarantine(&self) {
        // When apply has stopped, nothing is served anyway.
        drop(self.apply.run(|applier| applier.quarantine()).await);
    }

    /// How long a round trip to each member takes that this node has a connection to.
    pub(crate) fn round_trips(&self) -> Vec<(NodeId, Duration)> {
        self.asks.round_trips()
    }

    /// For how long the log's writer has been busy with what somebody waits for.
    pub(crate) fn writer_waits(&self) -> Option<Duration> {
        self.writer.waits()
    }

    /// Bytes logged since the last checkpoint.
    pub(crate) fn bytes_since_checkpoint(&self) -> u64 {
        let logged = self.log.appended_bytes();
        logged.saturating_sub(self.note_checkpoint().logged_bytes)
    }

    /// Time since the last checkpoint.
    pub(crate) fn checkpoint_age(&self) -> Duration {
        self.note_checkpoint().at.elapsed()
    }

    /// Notices a checkpoint that was applied since the last look.
    fn note_checkpoint(&self) -> LastCheckpoint {
        let index = *self.progress.checkpoint.borrow();
        let mut last = self
            .last_checkpoint
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if last.index != index {
            *last = LastCheckpoint {
                index,
                at: Instant::now(),
                logged_bytes: self.log.appended_bytes(),
            };
        }
        *last
    }
}

/// What is said by a node whose state differs from the majority's.
pub fn quarantined() -> Failure {
    Failure::new(
        FailureCode::Fault,
        "this node's state differs from the majority's; it serves no reads. Ask another node. To mend \
         this one: stop it, and start it again with --recover",
    )
}
