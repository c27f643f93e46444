//! A node's share of the cluster: its log, its machine, its place among the others.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hostd_machine::{Rehearsals, Views};
use hostd_planted::{self as planted, Bug};
use hostd_protocol::{Command, Failure, FailureCode, MemberChange, NodeId, Outcome};
use openraft::{
    Instant as _, LinearizerOption, ServerState, async_runtime::WatchReceiver, errors::RaftError,
};
use thiserror::Error;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, timeout_at},
};

use crate::{
    apply::{ApplyHandle, Progress},
    checkpoints,
    config::{Clock, ReplicaConfig, ReplicaParts},
    divergence,
    log_store::{Fact, LogDatabase, LogStore, OpenLogError},
    log_writer::LogWriter,
    membership,
    network::{
        Ask, BoxFuture, Core, Destination, Factory, Meeting, PeerService, Refusal, Tell, Transport,
    },
    observe,
    pace::WriterMode,
    prepare::Prepared,
    propose::{Proposer, Stamp, not_leader, stopped},
    read_index::ReadIndex,
    room::{self, MeasureRoom, Shortage},
    rules, slow_disk, spool,
    state_machine::StateMachine,
    timekeeper,
    types::{GROUP, Node, Nodes, Standing, StoredMembership, TypeConfig},
    verify::Audits,
};

/// Raft, running hostd's machine.
pub(crate) type Raft = openraft::Raft<TypeConfig, StateMachine>;

/// How long a node that is asked who or how it is may take.
pub(crate) const ASK_TIMEOUT: Duration = Duration::from_secs(1);

/// The longest that a peer may ask this node to try.
const ASKED_MAX: Duration = Duration::from_mins(10);

/// Between two attempts at what needs a leader, unless the leader changes.
const ATTEMPT_PAUSE: Duration = Duration::from_millis(25);
/// The least time that an attempt must have.
const ATTEMPT_MIN: Duration = Duration::from_millis(50);

/// How often a call that is under way looks whether the leader still has its majority.
const LEASE_LOOK: Duration = Duration::from_millis(250);

/// Why a replica could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The log.
    #[error(transparent)]
    Log(#[from] OpenLogError),
    /// Log and state do not belong together.
    #[error("{0}")]
    Mismatch(String),
    /// The machine's thread, or a directory.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// Raft found what it cannot start from.
    #[error("{0}")]
    Raft(String),
}

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
    pub(crate) progress: Progress,
    pub(crate) proposer: Proposer,
    pub(crate) clock: Clock,
    pub(crate) changing: tokio::sync::Mutex<()>,
    pub(crate) shortage: Shortage,
    pub(crate) prepared: Prepared,
    pub(crate) rehearsals: Rehearsals,
    pub(crate) audits: Audits,
    /// One look back at a time.
    pub(crate) looking_back: tokio::sync::Mutex<()>,
    reads: Arc<ReadIndex>,
    pub(crate) log: LogStore,
    writer: Arc<LogWriter>,
    apply: Arc<ApplyHandle>,
    asks: Box<dyn Asks>,
    last_checkpoint: Mutex<LastCheckpoint>,
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
    /// Opens the log, brings the machine to where it was, and starts to take part. A new node
    /// does nothing more until it is told how to begin: see [`Replica::form`].
    pub async fn open<T: Transport>(
        config: ReplicaConfig,
        parts: ReplicaParts<T>,
    ) -> Result<Self, OpenError> {
        let ReplicaParts {
            log: disk,
            machine,
            transport,
            clock,
            entropy,
            room,
        } = parts;
        let random = || {
            let mut bytes = [0; 8];
            entropy(&mut bytes);
            u64::from_le_bytes(bytes)
        };
        spool::clean(&config.spool)?;
        let database = Arc::new(LogDatabase::open(disk, config.id, random)?);
        let writer = Arc::new(LogWriter::start(Arc::clone(&database), &config.mode)?);
        let log = LogStore::open(&database, &writer, GROUP, config.checkpoint.tail_bytes)?;
        check_together(&config, &log, &machine)?;

        let views = machine.views();
        let rehearsals = machine.rehearsals();
        let audits = Audits::new(machine.audit());
        let (apply, progress) =
            ApplyHandle::start(machine, &config.mode, log.knows(Fact::Quarantined))?;
        let raft_config = config
            .timing
            .raft_config()
            .map_err(|error| OpenError::Raft(error.to_string()))?;
        let raft = Raft::build(
            config.id,
            Arc::new(raft_config),
            Factory(Arc::clone(&transport)),
            log.clone(),
            StateMachine::new(Arc::clone(&apply)),
        )
        .await
        .map_err(|error| OpenError::Raft(error.to_string()))?;

        let node = Node {
            address: config.address.clone(),
            incarnation: database.incarnation(),
            standing: Standing::Voter,
        };
        let boot = random();
        let proposer = Proposer::new(
            raft.clone(),
            Stamp {
                clock: Arc::clone(&clock),
                entropy,
            },
            config.propose,
        );
        let last_checkpoint = Mutex::new(LastCheckpoint {
            index: 0,
            at: Instant::now(),
            logged_bytes: 0,
        });
        let inner = Arc::new(ReplicaInner {
            node: node.clone(),
            raft: raft.clone(),
            views,
            progress,
            proposer,
            clock,
            changing: tokio::sync::Mutex::new(()),
            shortage: Shortage::default(),
            prepared: Prepared::default(),
            rehearsals,
            audits,
            looking_back: tokio::sync::Mutex::default(),
            reads: ReadIndex::new(),
            log,
            writer,
            apply,
            asks: Box::new(Arc::clone(&transport)),
            last_checkpoint,
            fault: watch::Sender::new(None),
            leadership: watch::Sender::new(Leadership::default()),
            tasks: Mutex::default(),
            config,
        });
        transport.start(PeerService::new(Core {
            id: inner.config.id,
            node,
            boot,
            replaces: inner.config.replaces,
            raft: raft.clone(),
            replica: Arc::downgrade(&inner),
            spool: inner.config.spool.clone(),
        }));
        Self::from_inner(Arc::clone(&inner)).start_tasks(room);
        raft.run();
        // Once Raft answers, what it knows of the members and the term is published.
        raft.is_initialized()
            .await
            .map_err(|error| OpenError::Raft(error.to_string()))?;
        Ok(Self {
            _running: Some(Arc::new(Running(Arc::clone(&inner)))),
            inner,
        })
    }

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

    fn start_tasks(&self, room: MeasureRoom) {
        let mut tasks = self
            .inner
            .tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        tasks.spawn(divergence::watch(self.clone()));
        tasks.spawn(checkpoints::follow(
            self.inner.raft.clone(),
            self.inner.log.clone(),
            self.inner.rehearsals.clone(),
            self.inner.progress.durable.clone(),
        ));
        tasks.spawn(timekeeper::run(self.clone()));
        tasks.spawn(rules::keep(self.clone()));
        tasks.spawn(membership::keep(self.clone()));
        tasks.spawn(membership::note_joined(self.clone()));
        tasks.spawn(membership::tell_vote(self.clone()));
        tasks.spawn(watch_leadership(self.clone()));
        tasks.spawn(watch_faults(self.clone()));
        tasks.spawn(slow_disk::watch(self.clone()));
        tasks.spawn(room::watch(self.clone(), room));
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
        async move { first_fault(&mut fault).await }
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

    /// Runs a command through the log and returns its outcome.
    ///
    /// Any node will do: one that does not lead passes the command on. A command is proposed a
    /// second time only where it is certain that it was not proposed before, or where it can be
    /// recognised as a retry.
    ///
    /// # Errors
    /// `timeout` when the outcome is unknown.
    pub async fn write(&self, command: Command, deadline: Instant) -> Result<Outcome, Failure> {
        let repeatable = matches!(
            &command,
            Command::Call { once: Some(_), .. } | Command::Plugin { .. }
        );
        let attempt = || {
            let command = command.clone();
            async move {
                match self.route() {
                    Route::Here => self.write_here(command, deadline).await,
                    Route::To(leader) => {
                        let ask = Ask::Write {
                            command: Box::new(command),
                            within: remaining(deadline),
                        };
                        match self.ask_leader(leader, ask, deadline).await? {
                            Tell::Outcome(outcome) => Ok(outcome),
                            _ => Err(misunderstood()),
                        }
                    }
                    Route::Nowhere(failure) => Err(Refusal::untouched(failure)),
                }
            }
        };
        self.attempts(deadline, repeatable, attempt).await
    }

    async fn write_here(&self, command: Command, deadline: Instant) -> Result<Outcome, Refusal> {
        if self.inner.shortage.is_on() {
            return Err(Refusal::untouched(room::no_space(self)));
        }
        let mut proposed = self.inner.proposer.propose(command)?;
        loop {
            let look = deadline.min(Instant::now() + LEASE_LOOK);
            if let Ok(answer) = timeout_at(look, proposed.answer()).await {
                return answer;
            }
            let late = Instant::now() >= deadline;
            if !late && self.has_quorum() {
                continue;
            }
            // Under way, it may yet take effect; waiting in the queue, it has not begun.
            if proposed.is_waiting() {
                if proposed.withdraw() {
                    return Err(Refusal::untouched(if self.has_quorum() {
                        Failure::new(
                            FailureCode::Overloaded,
                            "the command waited for its turn until its deadline; nothing was started",
                        )
                    } else {
                        no_quorum()
                    }));
                }
            } else if late {
                return Err(Refusal::unknown(Failure::new(
                    FailureCode::Timeout,
                    "no majority has confirmed the command in time; its outcome is unknown",
                )));
            }
        }
    }

    /// Waits until everything acknowledged before this call, anywhere in the cluster, is visible
    /// in [`Replica::views`] here.
    pub async fn read_barrier(&self, deadline: Instant) -> Result<(), Failure> {
        if self.quarantined() {
            return Err(quarantined());
        }
        let index = self
            .attempts(deadline, true, || self.read_index_once(deadline))
            .await?;
        if planted::active(Bug::ReadBeforeApply) {
            return Ok(());
        }
        let mut applied = self.inner.progress.applied_next.clone();
        let reached = applied.wait_for(|next| *next > index);
        match timeout_at(deadline, reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(stopped().failure),
            Err(_) => Err(Failure::new(
                FailureCode::Timeout,
                "this node has not applied in time what the read must see",
            )),
        }
    }

    async fn read_index_once(&self, deadline: Instant) -> Result<u64, Refusal> {
        let replica = self.clone();
        let round = self.inner.reads.get(move || {
            let replica = replica.clone();
            async move { replica.read_index_round().await }
        });
        timeout_at(deadline, round).await.unwrap_or_else(|_| {
            Err(Refusal::untouched(Failure::new(
                FailureCode::NoQuorum,
                "no majority has confirmed the leader in time",
            )))
        })
    }

    /// One round of confirmation, for all reads that wait.
    async fn read_index_round(&self) -> Result<u64, Refusal> {
        match self.route() {
            Route::Here => self.read_index_here().await,
            Route::To(_) if planted::active(Bug::FollowerReads) => Ok(self.applied_index()),
            Route::To(leader) => {
                let deadline = Instant::now() + self.inner.config.timing.election_max * 2;
                match self.ask_leader(leader, Ask::ReadIndex, deadline).await? {
                    Tell::ReadIndex(index) => Ok(index),
                    _ => Err(misunderstood()),
                }
            }
            Route::Nowhere(failure) => Err(Refusal::untouched(failure)),
        }
    }

    async fn read_index_here(&self) -> Result<u64, Refusal> {
        if planted::active(Bug::SkipReadIndex) {
            return Ok(self.applied_index());
        }
        // ReadIndex: an acknowledgement of the past does not count, however recent.
        let option = LinearizerOption::new(Some(Duration::ZERO), true)
            .with_wait_timeout(self.inner.config.timing.election_max);
        match self.inner.raft.get_read_log_id(option).await {
            Ok((read, _)) => Ok(read.index()),
            Err(RaftError::APIError(error)) => Err(Refusal::untouched(match error {
                openraft::errors::LinearizableReadError::ForwardToLeader(forward) => {
                    not_leader(&forward)
                }
                openraft::errors::LinearizableReadError::QuorumNotEnough(_) => no_quorum(),
            })),
            Err(RaftError::Fatal(_)) => Err(stopped()),
        }
    }

    /// Changes the membership.
    ///
    /// # Errors
    /// `invalid_argument` when the change makes no sense now; the message says why.
    pub async fn change_membership(
        &self,
        change: MemberChange,
        deadline: Instant,
    ) -> Result<(), Failure> {
        let attempt = || {
            let change = change.clone();
            async move {
                match self.route() {
                    Route::Here => membership::change(self, change, deadline).await,
                    Route::To(leader) => {
                        let ask = Ask::Change {
                            change,
                            within: remaining(deadline),
                        };
                        self.ask_leader(leader, ask, deadline).await.map(drop)
                    }
                    Route::Nowhere(failure) => Err(Refusal::untouched(failure)),
                }
            }
        };
        // Changes are worked out from the members as they are, so doing one twice does no harm;
        // except that leadership handed to anybody would be handed on by whoever got it.
        let repeatable = change != MemberChange::Transfer(None);
        let led_by = self.inner.leadership.borrow().leader.clone();
        let changed = self.attempts(deadline, repeatable, attempt).await;
        match changed {
            // News of the new leader can be faster than the old one's answer.
            Err(failure)
                if !repeatable
                    && failure.code == FailureCode::Timeout
                    && led_by.is_some()
                    && failure.leader.is_some()
                    && failure.leader != led_by =>
            {
                Ok(())
            }
            other => other,
        }
    }

    /// Makes a checkpoint now, on every node. Returns its log index, or that of one that was made since.
    pub async fn checkpoint(&self, deadline: Instant) -> Result<u64, Failure> {
        let attempt = || async {
            match self.route() {
                Route::Here => self.checkpoint_here().await,
                Route::To(leader) => {
                    match self.ask_leader(leader, Ask::Checkpoint, deadline).await? {
                        Tell::Checkpoint(index) => Ok(index),
                        _ => Err(misunderstood()),
                    }
                }
                Route::Nowhere(failure) => Err(Refusal::untouched(failure)),
            }
        };
        self.attempts(deadline, true, attempt).await
    }

    async fn checkpoint_here(&self) -> Result<u64, Refusal> {
        timekeeper::make_checkpoint(self).await?;
        Ok(*self.inner.progress.checkpoint.borrow())
    }

    /// Tries until it works, it makes no sense to try again, or it is too late.
    async fn attempts<T, F, A>(
        &self,
        deadline: Instant,
        repeatable: bool,
        mut attempt: A,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Refusal>>,
        A: FnMut() -> F,
    {
        let patience = deadline.min(Instant::now() + self.inner.config.unavailable_after);
        // What an attempt left open, a later one that certainly did nothing does not settle.
        let mut open = None;
        loop {
            let refusal = match attempt().await {
                Ok(value) => return Ok(value),
                Err(refusal) => refusal,
            };
            let passing = matches!(
                refusal.failure.code,
                FailureCode::NoLeader | FailureCode::NoQuorum
            ) || (repeatable && refusal.failure.code == FailureCode::Timeout);
            // An attempt that has no time for an answer would only turn a certain refusal into an
            // unknown outcome.
            let in_time = || Instant::now() + ATTEMPT_MIN < patience;
            let again = passing && (refusal.untouched || repeatable) && in_time();
            if again {
                let mut leadership = self.leadership();
                leadership.mark_unchanged();
                // A new leader ends the pause.
                drop(tokio::time::timeout(ATTEMPT_PAUSE, leadership.changed()).await);
            }
            if !refusal.untouched && !planted::active(Bug::ForgetOpen) {
                open = Some(refusal.failure.clone());
            }
            if !again || !in_time() {
                return Err(self.with_leader(open.unwrap_or(refusal.failure)));
            }
        }
    }

    fn with_leader(&self, mut failure: Failure) -> Failure {
        if failure.leader.is_none() {
            failure
                .leader
                .clone_from(&self.inner.leadership.borrow().leader);
        }
        failure
    }

    fn route(&self) -> Route {
        let server = self.inner.raft.server_metrics();
        let server = server.borrow_watched();
        if server.state == ServerState::Leader {
            return Route::Here;
        }
        let leader = server.current_leader.filter(|leader| *leader != self.id());
        let leader = leader.and_then(|id| {
            let node = server.membership_config.membership().get_node(&id)?;
            Some(Leader {
                id,
                node: node.clone(),
                term: server.vote.leader_id().term,
            })
        });
        match leader {
            Some(leader) => Route::To(leader),
            None => Route::Nowhere(Failure::new(
                FailureCode::NoLeader,
                "no leader is known: an election is going on, or this node is cut off",
            )),
        }
    }

    /// Whether, as a leader, this node has heard from a majority lately.
    pub(crate) fn has_quorum(&self) -> bool {
        let alone = {
            let server = self.inner.raft.server_metrics();
            let server = server.borrow_watched();
            if server.state != ServerState::Leader {
                return false;
            }
            let voters: Vec<_> = server.membership_config.membership().voter_ids().collect();
            voters == [self.id()]
        };
        let data = self.inner.raft.data_metrics();
        let heard = data.borrow_watched().last_quorum_acked;
        alone
            || heard.is_some_and(|heard| {
                heard.into_inner().elapsed() < self.inner.config.timing.election_max
            })
    }

    pub(crate) async fn ask(
        &self,
        whom: Destination,
        ask: Ask,
        within: Duration,
    ) -> Result<Tell, Refusal> {
        self.inner.asks.ask(whom, ask, within).await
    }

    async fn ask_leader(
        &self,
        leader: Leader,
        ask: Ask,
        deadline: Instant,
    ) -> Result<Tell, Refusal> {
        let Leader { id, node, term } = leader;
        let answer = self.ask(Destination::Member(id, node), ask, remaining(deadline));
        let mut leadership = self.leadership();
        let deposed = async {
            let another = |now: &Leadership| {
                now.term >= term && now.leader.as_ref().is_some_and(|(leader, _)| *leader != id)
            };
            // It ends only with this replica.
            if leadership.wait_for(another).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        // A leader that died does not say so, and its connection takes long to be given up.
        tokio::select! {
            answer = answer => answer,
            () = deposed => Err(Refusal::unknown(Failure::new(
                FailureCode::Timeout,
                "another node became leader while the request was under way; its outcome is unknown",
            ))),
        }
    }

    /// Takes over a connection that a peer has made. `node` is the number in its certificate.
    pub fn accept_peer(&self, node: NodeId, connection: quinn::Connection) {
        self.inner.asks.accept(node, connection);
    }

    /// Answers another replica.
    pub(crate) async fn serve(&self, ask: Ask) -> Result<Tell, Refusal> {
        match ask {
            Ask::Meet => Ok(Tell::Met(self.meeting())),
            Ask::Status => Ok(Tell::Status(Box::new(self.own_status()))),
            Ask::Prepare { digest, within } => {
                self.prepare_here(digest, until(within)).await?;
                Ok(Tell::Done)
            }
            Ask::Rows {
                checkpoint,
                question,
                within,
            } => self.rows_here(checkpoint, question, until(within)).await,
            // What follows is the leader's; passing it on again could go round in circles.
            leaders if !self.is_leader() => {
                drop(leaders);
                Err(Refusal::untouched(self.with_leader(Failure::new(
                    FailureCode::NoLeader,
                    "this node is not the leader",
                ))))
            }
            Ask::Write { command, within } => self
                .write_here(*command, until(within))
                .await
                .map(Tell::Outcome),
            Ask::ReadIndex => {
                let deadline = Instant::now() + self.inner.config.timing.election_max * 2;
                self.read_index_once(deadline).await.map(Tell::ReadIndex)
            }
            Ask::Change { change, within } => {
                membership::change(self, change, until(within)).await?;
                Ok(Tell::Done)
            }
            Ask::Join(joiner) => {
                membership::take_in(self, joiner).await?;
                Ok(Tell::Done)
            }
            Ask::Checkpoint => self.checkpoint_here().await.map(Tell::Checkpoint),
        }
    }

    fn meeting(&self) -> Meeting {
        let applied = self.applied_membership();
        let nodes = applied.membership().nodes();
        Meeting {
            id: self.id(),
            node: self.inner.node.clone(),
            initialized: self.is_initialized(),
            joined: self.has_joined(),
            members: nodes.map(|(id, node)| (*id, node.clone())).collect(),
            membership: applied.log_id().as_ref().map(openraft::LogId::index),
        }
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
        match &self.config.mode {
            WriterMode::Task(_) => stop(),
            WriterMode::Thread => {
                // Cancelled means that the runtime has ended, and everything with it.
                if let Err(error) = tokio::task::spawn_blocking(stop).await
                    && error.is_panic()
                {
                    tracing::error!("a thread of the replica panicked");
                }
            }
        }
    }

    /// Takes in that this node's state is the wrong one.
    pub(crate) async fn quarantine(&self) {
        // When apply has stopped, nothing is served anyway.
        drop(self.apply.run(|applier| applier.quarantine()).await);
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

/// Another node that leads.
struct Leader {
    id: NodeId,
    node: Node,
    term: u64,
}

/// Where a leader's work is done.
enum Route {
    Here,
    To(Leader),
    Nowhere(Failure),
}

/// Refuses a log and a state that are not of the same past.
fn check_together(
    config: &ReplicaConfig,
    log: &LogStore,
    machine: &hostd_machine::Machine,
) -> Result<(), OpenError> {
    let (state_file, log_file) = (config.state_file.display(), config.log_file.display());
    let (purged, empty) = log.beginning();
    let state = machine.position().map(|position| position.index);
    if let Some(purged) = purged.filter(|_| purged > state) {
        let state = state.map_or("is missing or empty".into(), |index| {
            format!("reaches up to entry {index} only")
        });
        return Err(OpenError::Mismatch(format!(
            "{state_file} {state}, and {log_file} begins after entry {purged}: what is between is lost"
        )));
    }
    if empty && let Some(index) = state {
        return Err(OpenError::Mismatch(format!(
            "{log_file} is missing or empty, but {state_file} reaches up to entry {index}: this node \
             has lost its log and with it the promises it made"
        )));
    }
    Ok(())
}

/// The deadline that a peer asks for, in bounds: a moment too far away is none.
fn until(within: Duration) -> Instant {
    Instant::now() + within.min(ASKED_MAX)
}

pub(crate) fn remaining(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// What is said by a node whose state differs from the majority's.
pub fn quarantined() -> Failure {
    Failure::new(
        FailureCode::Fault,
        "this node's state differs from the majority's; it serves no reads. Ask another node. To mend \
         this one: stop it, and start it again with --recover",
    )
}

pub(crate) fn no_quorum() -> Failure {
    Failure::new(
        FailureCode::NoQuorum,
        "the leader cannot reach a majority of the members",
    )
}

fn misunderstood() -> Refusal {
    Refusal::unknown(Failure::new(
        FailureCode::Fault,
        "the other node gave an answer to another question",
    ))
}

/// Publishes who leads, and tells the transport who the members are.
async fn watch_leadership(replica: Replica) {
    let mut server = replica.inner.raft.server_metrics();
    let mut nodes = Nodes::new();
    loop {
        let now = replica.nodes();
        if now != nodes {
            replica.inner.asks.members_changed(&now);
            nodes = now;
        }
        let leadership = {
            let server = server.borrow_and_update();
            let leader = server.current_leader.map(|leader| {
                let node = server.membership_config.membership().get_node(&leader);
                (
                    leader,
                    node.map_or_else(String::new, |node| node.address.clone()),
                )
            });
            Leadership {
                leader,
                here: server.state == ServerState::Leader,
                term: server.vote.leader_id().term,
            }
        };
        replica.inner.leadership.send_if_modified(|known| {
            let changed = *known != leadership;
            if changed && leadership.here {
                observe::leads(leadership.term);
            }
            *known = leadership;
            changed
        });
        if server.changed().await.is_err() {
            return;
        }
    }
}

/// Publishes the first fault, whoever meets it.
async fn watch_faults(replica: Replica) {
    let mut writer = replica.inner.writer.fault();
    let mut apply = replica.inner.progress.fault.clone();
    let mut server = replica.inner.raft.server_metrics();
    let raft_ended = async {
        while server.changed().await.is_ok() {}
        let metrics = replica.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics
            .running_state
            .as_ref()
            .err()
            .map(ToString::to_string)
    };
    let fault = tokio::select! {
        biased;
        fault = first_fault(&mut apply) => fault,
        fault = first_fault(&mut writer) => fault,
        fault = raft_ended => fault.unwrap_or_else(|| "Raft has stopped".into()),
    };
    replica.inner.fault.send_replace(Some(fault));
}

async fn first_fault(fault: &mut watch::Receiver<Option<String>>) -> String {
    let met = match fault.wait_for(Option::is_some).await {
        Ok(fault) => fault.clone(),
        Err(_) => None,
    };
    match met {
        Some(met) => met,
        // Whoever could have met one has ended without.
        None => std::future::pending().await,
    }
}
