//! Who belongs to the cluster, and how that changes.
//!
//! Every change is worked out from the members as they are, so that one that was interrupted, or
//! asked for twice, ends as if it had been done once. What is intended for a node is part of the
//! membership (see [`Standing`]); the leader sees to it that it comes true.

use std::{collections::BTreeSet, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use hostd_protocol::{Failure, FailureCode, MemberChange, NodeId};
use openraft::{
    ChangeMembers, Instant as _,
    async_runtime::WatchReceiver,
    errors::{ChangeMembershipError, ClientWriteError, InitializeError, RaftError},
};
use thiserror::Error;
use tokio::time::{Instant, timeout_at};

use crate::{
    network::{Ask, Destination, Joiner, Meeting, Refusal, Tell},
    propose::{refusal, stopped},
    replica::{ASK_TIMEOUT, Replica, no_quorum},
    types::{Membership, Node, Nodes, Standing},
};

/// A learner that lacks no more entries than this is in sync.
const IN_SYNC_ENTRIES: u64 = 32;
/// Between two looks at learners that catch up, and at changes that wait for another.
const LOOK: Duration = Duration::from_millis(100);
/// Between two attempts to reach any of the nodes to join.
const JOIN_PAUSE: Duration = Duration::from_millis(500);
/// A change that nobody waits for takes as long as it may.
const OWN_CHANGE_TIMEOUT: Duration = Duration::from_secs(10);

/// How a node begins.
#[derive(Clone, Debug)]
pub enum Formation {
    /// As a cluster of one.
    Alone,
    /// As a member of an existing cluster.
    Join {
        /// Addresses of members; any one that answers will do.
        through: Vec<String>,
        /// Stay a learner.
        learner: bool,
    },
    /// With others that begin now.
    Expect {
        /// Addresses of the others; this node's own may be among them.
        through: Vec<String>,
        /// How many nodes there are to be.
        count: usize,
    },
}

/// Why a node could not begin.
#[derive(Debug, Error)]
pub enum FormError {
    /// The cluster does not take this node.
    #[error("{0}")]
    Refused(String),
    /// This node stops.
    #[error("this node has stopped")]
    Stopped,
}

impl Replica {
    /// Begins as told, unless this node has begun before. Waits until this node is a member, for
    /// as long as it takes; the reasons for waiting are logged.
    pub async fn form(&self, formation: Formation) -> Result<(), FormError> {
        if self.is_initialized() {
            return match formation {
                Formation::Alone => Ok(()),
                Formation::Join { through, .. } | Formation::Expect { through, .. } => {
                    self.confirm(&through).await
                }
            };
        }
        match formation {
            Formation::Alone => {
                let own = (self.id(), self.inner().node.clone());
                self.initialize(Nodes::from([own])).await
            }
            Formation::Join { through, learner } => self.join(through, learner).await,
            Formation::Expect { through, count } => self.expect(through, count).await,
        }
    }

    /// Makes sure that a node which has a cluster is not told to join another one. That nobody
    /// answers is no objection: all nodes may be starting.
    async fn confirm(&self, through: &[String]) -> Result<(), FormError> {
        // What it belongs to may still have to be read from its log.
        let mut applied = self.inner().progress.applied_next.clone();
        let known = applied.wait_for(|_| self.cluster().is_some());
        drop(tokio::time::timeout(ASK_TIMEOUT, known).await);
        let mut answers: FuturesUnordered<_> = through
            .iter()
            .map(|address| async move { (address, self.meet(address).await) })
            .collect();
        while let Some((address, answer)) = answers.next().await {
            match answer {
                Ok(meeting) if meeting.id != self.id() => return Ok(()),
                Err(failure) if failure.code == FailureCode::InvalidArgument => {
                    return Err(FormError::Refused(format!(
                        "{address}, which this node is told to join: {}",
                        failure.message
                    )));
                }
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }

    async fn initialize(&self, nodes: Nodes) -> Result<(), FormError> {
        match self.inner().raft.initialize(nodes).await {
            // Not allowed: another node was faster, which is as good.
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(RaftError::APIError(error)) => Err(FormError::Refused(error.to_string())),
            Err(RaftError::Fatal(_)) => Err(FormError::Stopped),
        }
    }

    async fn join(&self, through: Vec<String>, learner: bool) -> Result<(), FormError> {
        let joiner = Joiner {
            id: self.id(),
            node: Node {
                standing: if learner {
                    Standing::Learner
                } else {
                    Standing::Voter
                },
                ..self.inner().node.clone()
            },
        };
        let mut patience = Complaints::new();
        let mut addresses = through.clone();
        let mut hints: Vec<String> = Vec::new();
        loop {
            if self.is_initialized() {
                return Ok(());
            }
            let mut reason = String::new();
            let tried = std::mem::take(&mut hints);
            for address in std::mem::take(&mut addresses) {
                let asked = self
                    .ask(
                        Destination::Address(address.clone()),
                        Ask::Join(joiner.clone()),
                        OWN_CHANGE_TIMEOUT,
                    )
                    .await;
                match asked {
                    Ok(_) => return self.until_initialized().await,
                    Err(refusal) if refusal.failure.code == FailureCode::InvalidArgument => {
                        return Err(FormError::Refused(refusal.failure.message));
                    }
                    Err(refusal) => {
                        // A member that does not lead knows who does.
                        if let Some((_, leader)) = refusal.failure.leader
                            && !leader.is_empty()
                            && !hints.contains(&leader)
                        {
                            hints.push(leader);
                        }
                        reason = format!("{address}: {}", refusal.failure.message);
                    }
                }
            }
            patience.complain("joining", &reason);
            // A leader that was just named is asked at once; one that was of no use, later.
            if hints.iter().all(|hint| tried.contains(hint)) {
                tokio::time::sleep(JOIN_PAUSE).await;
            }
            addresses.extend(hints.iter().chain(&through).cloned());
        }
    }

    /// The leader has this node in the membership; now its log is on the way.
    async fn until_initialized(&self) -> Result<(), FormError> {
        let mut server = self.inner().raft.server_metrics();
        while !self.is_initialized() {
            server.changed().await.map_err(|_| FormError::Stopped)?;
        }
        Ok(())
    }

    /// Of the nodes that meet, the one with the lowest number begins, with all of them as members.
    ///
    /// All must be new, and as many as the list names: two sets of nodes that both began would be
    /// two clusters, or one with two histories.
    async fn expect(&self, through: Vec<String>, count: usize) -> Result<(), FormError> {
        let mut patience = Complaints::new();
        loop {
            let mut met = Nodes::from([(self.id(), self.inner().node.clone())]);
            let mut begun = false;
            let mut reason = String::new();
            for address in &through {
                match self.meet(address).await {
                    Ok(meeting) if meeting.initialized && meeting.id != self.id() => {
                        begun = true;
                    }
                    Ok(meeting) => {
                        let other = met.insert(meeting.id, meeting.node.clone());
                        if other.is_some_and(|other| other.incarnation != meeting.node.incarnation)
                        {
                            return Err(FormError::Refused(format!(
                                "two of the nodes to be have the number {}",
                                meeting.id
                            )));
                        }
                    }
                    Err(failure) if failure.code == FailureCode::InvalidArgument => {
                        return Err(FormError::Refused(failure.message));
                    }
                    Err(failure) => reason = format!("{address}: {}", failure.message),
                }
            }
            if self.is_initialized() {
                return Ok(());
            }
            if begun {
                // With this node among them: then their log comes.
                reason =
                    "the others have begun; if this node is not one of them, start it without \
                          --bootstrap-expect"
                        .into();
            } else if met.len() == count {
                let first = met.keys().next().copied();
                if first == Some(self.id()) {
                    return self.initialize(met).await;
                }
                reason = format!("node {} is to begin", first.unwrap_or_default());
            } else if met.len() > count {
                return Err(FormError::Refused(format!(
                    "{} nodes have met, but only {count} are expected",
                    met.len()
                )));
            }
            let what = format!("{} of {count} nodes have met", met.len());
            patience.complain(&what, &reason);
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn meet(&self, address: &str) -> Result<Meeting, Failure> {
        let destination = Destination::Address(address.to_owned());
        match self.ask(destination, Ask::Meet, ASK_TIMEOUT).await {
            Ok(Tell::Met(meeting)) => Ok(meeting),
            Ok(_) => Err(Failure::new(FailureCode::Fault, "it gave another answer")),
            Err(refusal) => Err(refusal.failure),
        }
    }
}

/// Says why a node waits: at once, and then at most every few seconds.
struct Complaints {
    next: Instant,
    last: String,
}

impl Complaints {
    const PERIOD: Duration = Duration::from_secs(5);

    fn new() -> Self {
        Self {
            next: Instant::now(),
            last: String::new(),
        }
    }

    fn complain(&mut self, what: &str, reason: &str) {
        let text = format!("{what}; {reason}");
        let now = Instant::now();
        if text == self.last && now < self.next {
            return;
        }
        tracing::info!("still waiting: {text}");
        self.last = text;
        self.next = now + Self::PERIOD;
    }
}

/// Takes a node in, as the leader; or notices its new address.
pub(crate) async fn take_in(replica: &Replica, joiner: Joiner) -> Result<(), Refusal> {
    let deadline = Instant::now() + OWN_CHANGE_TIMEOUT;
    let Joiner { id, node } = joiner;
    let _turn = turn(replica, deadline).await?;
    match replica.member(id) {
        None => {
            tracing::info!(node = id, address = node.address, "taking in a new member");
            propose(
                replica,
                ChangeMembers::AddNodes([(id, node)].into()),
                deadline,
            )
            .await
        }
        Some(known) if known.incarnation != node.incarnation => Err(invalid(format!(
            "node number {id} is in use, by the member at {}; a node that lost its data must join \
             under a new number, after `hostctl member remove {id}`",
            known.address
        ))),
        Some(known) if known.address != node.address => {
            tracing::info!(
                node = id,
                address = node.address,
                "a member has a new address"
            );
            let moved = Node {
                address: node.address,
                ..known
            };
            propose(
                replica,
                ChangeMembers::SetNodes([(id, moved)].into()),
                deadline,
            )
            .await
        }
        Some(_) => Ok(()),
    }
}

/// Changes the membership, as the leader.
pub(crate) async fn change(
    replica: &Replica,
    change: MemberChange,
    deadline: Instant,
) -> Result<(), Refusal> {
    match change {
        MemberChange::Add {
            node,
            address,
            learner,
        } => add(replica, node, address, learner, deadline).await,
        MemberChange::Promote(id) => promote(replica, id, deadline).await,
        MemberChange::Demote(id) => demote(replica, id, deadline).await,
        MemberChange::Remove(id) => remove(replica, id, deadline).await,
        MemberChange::Transfer(to) => transfer(replica, to, deadline).await,
    }
}

async fn add(
    replica: &Replica,
    id: NodeId,
    address: String,
    learner: bool,
    deadline: Instant,
) -> Result<(), Refusal> {
    // Only the node itself knows its incarnation.
    let meeting = loop {
        let reason = match replica.meet(&address).await {
            Ok(meeting) => break meeting,
            Err(failure) => failure.message,
        };
        if Instant::now() + LOOK >= deadline {
            return Err(Refusal::untouched(Failure::new(
                FailureCode::Timeout,
                format!(
                    "no node answers at {address} ({reason}); nothing was changed. Start it with --join"
                ),
            )));
        }
        tokio::time::sleep(LOOK).await;
    };
    if meeting.id != id {
        return Err(invalid(format!(
            "the node at {address} has the number {}, not {id}",
            meeting.id
        )));
    }
    let member = replica.member(id);
    if meeting.initialized && member.is_none() {
        return Err(invalid(format!(
            "the node at {address} belongs to another cluster, or was removed from this one; start \
             it with an empty data directory and a new number"
        )));
    }
    let standing = if learner {
        Standing::Learner
    } else {
        Standing::Voter
    };
    let node = Node {
        address,
        incarnation: meeting.node.incarnation,
        standing,
    };
    take_in(replica, Joiner { id, node }).await?;
    // It may have joined by itself in the meantime, as something else.
    match replica.member(id) {
        Some(known) if known.standing != standing => {
            if learner {
                demote(replica, id, deadline).await
            } else {
                let _turn = turn(replica, deadline).await?;
                let meant = Node { standing, ..known };
                let change = ChangeMembers::SetNodes([(id, meant)].into());
                propose(replica, change, deadline).await
            }
        }
        _ => Ok(()),
    }
}

async fn promote(replica: &Replica, id: NodeId, deadline: Instant) -> Result<(), Refusal> {
    let _turn = turn(replica, deadline).await?;
    let node = known(replica, id)?;
    if is_voter(replica, id) {
        return Ok(());
    }
    if !in_sync(replica, id) {
        return Err(invalid(format!(
            "node {id} lags behind; it can become a voter once it is in sync"
        )));
    }
    let voter = Node {
        standing: Standing::Voter,
        ..node
    };
    let changes = vec![
        ChangeMembers::SetNodes([(id, voter)].into()),
        ChangeMembers::AddVoterIds([id].into()),
    ];
    propose(replica, ChangeMembers::Batch(changes), deadline).await
}

async fn demote(replica: &Replica, id: NodeId, deadline: Instant) -> Result<(), Refusal> {
    let turn = turn(replica, deadline).await?;
    let node = known(replica, id)?;
    let learner = Node {
        standing: Standing::Learner,
        ..node
    };
    let mut changes = vec![ChangeMembers::SetNodes([(id, learner)].into())];
    if is_voter(replica, id) {
        keep_a_voter(replica, id)?;
        changes.push(ChangeMembers::RemoveVoters([id].into()));
    }
    propose(replica, ChangeMembers::Batch(changes), deadline).await?;
    drop(turn);
    // openraft lets a learner lead; hostd does not.
    if id == replica.id() {
        transfer(replica, None, deadline).await?;
    }
    Ok(())
}

async fn remove(replica: &Replica, id: NodeId, deadline: Instant) -> Result<(), Refusal> {
    let _turn = turn(replica, deadline).await?;
    let Some(node) = replica.member(id) else {
        return Ok(());
    };
    if is_voter(replica, id) {
        keep_a_voter(replica, id)?;
        // In two steps: first it loses its vote and is told so, then it is gone.
        let leaving = Node {
            standing: Standing::Leaving,
            ..node
        };
        let changes = vec![
            ChangeMembers::SetNodes([(id, leaving)].into()),
            ChangeMembers::RemoveVoters([id].into()),
        ];
        propose(replica, ChangeMembers::Batch(changes), deadline).await?;
    }
    propose(replica, ChangeMembers::RemoveNodes([id].into()), deadline).await
}

/// Hands leadership to a voter, or to the one that lacks least, and waits until it leads.
pub(crate) async fn transfer(
    replica: &Replica,
    to: Option<NodeId>,
    deadline: Instant,
) -> Result<(), Refusal> {
    if to == Some(replica.id()) {
        return Ok(());
    }
    loop {
        let target = ready_voter(replica, to, deadline).await?;
        let Some(target) = target else {
            return Ok(());
        };
        // One that is about to stop does not take over; then another may.
        let patience = replica.inner().config.timing.election_max * 3;
        let attempt = match to {
            Some(_) => deadline,
            None => deadline.min(Instant::now() + patience),
        };
        if hand_to(replica, target, attempt).await? {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(Refusal::unknown(Failure::new(
                FailureCode::Timeout,
                format!("node {target} has not taken over in time"),
            )));
        }
    }
}

/// The voter to hand leadership to, once it has all entries: one that lacks some would refuse, and
/// leadership would be nobody's for a while. `None` when this node does not lead any more.
async fn ready_voter(
    replica: &Replica,
    to: Option<NodeId>,
    deadline: Instant,
) -> Result<Option<NodeId>, Refusal> {
    loop {
        if !replica.is_leader() {
            return Ok(None);
        }
        let target = match to {
            Some(id) => {
                known(replica, id)?;
                if !is_voter(replica, id) {
                    return Err(invalid(format!("node {id} is not a voter")));
                }
                id
            }
            None => best_voter(replica)
                .ok_or_else(|| invalid("there is no other voter that can be reached".into()))?,
        };
        if in_sync(replica, target) {
            return Ok(Some(target));
        }
        if Instant::now() + LOOK >= deadline {
            return Err(invalid(format!(
                "node {target} lags behind or is out of reach"
            )));
        }
        tokio::time::sleep(LOOK / 10).await;
    }
}

/// Returns whether another node leads now.
async fn hand_to(replica: &Replica, target: NodeId, until: Instant) -> Result<bool, Refusal> {
    let mut leadership = replica.leadership();
    let raft = &replica.inner().raft;
    raft.trigger()
        .transfer_leader(target)
        .await
        .map_err(|_| stopped())?;
    let passed = leadership.wait_for(|leadership| !leadership.here && leadership.leader.is_some());
    match timeout_at(until, passed).await {
        Ok(Ok(_)) => Ok(true),
        Ok(Err(_)) => Err(stopped()),
        Err(_) => Ok(false),
    }
}

/// One change at a time; the next waits for its turn.
async fn turn(
    replica: &Replica,
    deadline: Instant,
) -> Result<tokio::sync::MutexGuard<'_, ()>, Refusal> {
    timeout_at(deadline, replica.inner().changing.lock())
        .await
        .map_err(|_| {
            Refusal::untouched(Failure::new(
                FailureCode::Timeout,
                "another change of the membership is under way",
            ))
        })
}

/// Logs a change, and if it needs two steps, both.
async fn propose(
    replica: &Replica,
    change: ChangeMembers<NodeId, Node>,
    deadline: Instant,
) -> Result<(), Refusal> {
    let raft = &replica.inner().raft;
    loop {
        while under_way(replica) && Instant::now() + LOOK < deadline {
            tokio::time::sleep(LOOK).await;
        }
        let result = timeout_at(deadline, raft.change_membership(change.clone(), true)).await;
        let error = match result {
            Err(_) if replica.has_quorum() => {
                return Err(Refusal::unknown(Failure::new(
                    FailureCode::Timeout,
                    "the change was not confirmed in time; look at the members before trying again",
                )));
            }
            Err(_) => return Err(Refusal::unknown(no_quorum())),
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(RaftError::Fatal(_))) => return Err(stopped()),
            Ok(Err(RaftError::APIError(error))) => error,
        };
        let wait = matches!(
            error,
            ClientWriteError::ChangeMembershipError(
                ChangeMembershipError::InProgress(_)
                    | ChangeMembershipError::UncommittedLeaderLog(_)
            )
        );
        if !wait || Instant::now() + LOOK >= deadline {
            return Err(refusal(error));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Whether the last change is not committed yet, as far as this node has applied; Raft makes one
/// at a time.
fn under_way(replica: &Replica) -> bool {
    let server = replica.inner().raft.server_metrics();
    let server = server.borrow_watched();
    let applied = replica.inner().progress.membership.borrow();
    server.membership_config.log_id() > applied.log_id()
}

fn invalid(message: String) -> Refusal {
    Refusal::untouched(Failure::new(FailureCode::InvalidArgument, message))
}

fn known(replica: &Replica, id: NodeId) -> Result<Node, Refusal> {
    replica
        .member(id)
        .ok_or_else(|| invalid(format!("node {id} is not a member")))
}

fn membership(replica: &Replica) -> Membership {
    let server = replica.inner().raft.server_metrics();
    let server = server.borrow_watched();
    server.membership_config.membership().clone()
}

fn is_voter(replica: &Replica, id: NodeId) -> bool {
    membership(replica).voter_ids().any(|voter| voter == id)
}

fn keep_a_voter(replica: &Replica, id: NodeId) -> Result<(), Refusal> {
    if membership(replica).voter_ids().all(|voter| voter == id) {
        return Err(invalid(format!("node {id} is the only voter")));
    }
    Ok(())
}

/// Entries that a node lacks, and whether it answered lately; `None` while nothing is known.
fn lag(replica: &Replica, id: NodeId) -> Option<u64> {
    let data = replica.inner().raft.data_metrics();
    let data = data.borrow_watched();
    let heard = data.heartbeat.as_ref()?.get(&id)?.as_ref()?;
    if heard.into_inner().elapsed() > replica.inner().config.timing.election_max {
        return None;
    }
    let matched = data.replication.as_ref()?.get(&id)?.as_ref()?.index();
    let last = data.last_log.as_ref().map_or(0, openraft::LogId::index);
    Some(last.saturating_sub(matched))
}

fn in_sync(replica: &Replica, id: NodeId) -> bool {
    lag(replica, id).is_some_and(|lag| lag <= IN_SYNC_ENTRIES)
}

fn best_voter(replica: &Replica) -> Option<NodeId> {
    membership(replica)
        .voter_ids()
        .filter(|voter| *voter != replica.id())
        .filter_map(|voter| Some((lag(replica, voter)?, voter)))
        .min()
        .map(|(_, voter)| voter)
}

/// Makes come true what is intended for each node. Runs until the replica stops; only the leader
/// does anything, but for its own address, which every node announces.
pub(crate) async fn keep(replica: Replica) {
    let mut server = replica.inner().raft.server_metrics();
    loop {
        let unfinished = keep_once(&replica).await;
        let changed = server.changed();
        let alive = if unfinished {
            tokio::time::timeout(LOOK, changed)
                .await
                .unwrap_or(Ok(()))
                .is_ok()
        } else {
            changed.await.is_ok()
        };
        if !alive {
            return;
        }
    }
}

/// Returns whether something remains to be done.
async fn keep_once(replica: &Replica) -> bool {
    let own = replica.id();
    let moved = replica
        .member(own)
        .is_some_and(|known| known.address != replica.inner().node.address);
    if moved {
        announce(replica).await;
    }
    if !replica.is_leader() {
        return moved;
    }
    match intended(replica) {
        None => return moved,
        Some(Intended::Later) => return true,
        Some(Intended::Now(_)) => {}
    }
    let deadline = Instant::now() + OWN_CHANGE_TIMEOUT;
    if let Ok(_turn) = turn(replica, deadline).await
        // While this one waited for its turn, another may have done it.
        && let Some(Intended::Now(change)) = intended(replica)
        && let Err(refusal) = propose(replica, change, deadline).await
    {
        tracing::debug!(reason = %refusal.failure, "a change of the membership waits");
    }
    true
}

/// Tells the leader this node's new address.
async fn announce(replica: &Replica) {
    let joiner = Joiner {
        id: replica.id(),
        node: replica.inner().node.clone(),
    };
    let leader = replica.leadership().borrow().clone();
    let told = match leader.leader {
        _ if leader.here => take_in(replica, joiner).await,
        Some((id, _)) => match replica.member(id) {
            Some(node) => replica
                .ask(
                    Destination::Member(id, node),
                    Ask::Join(joiner),
                    ASK_TIMEOUT,
                )
                .await
                .map(drop),
            None => return,
        },
        None => return,
    };
    if let Err(refusal) = told {
        tracing::debug!(reason = %refusal.failure, "the new address is not known yet");
    }
}

enum Intended {
    /// To be proposed.
    Now(ChangeMembers<NodeId, Node>),
    /// Not yet: a learner catches up.
    Later,
}

/// The next change that the standings ask for.
fn intended(replica: &Replica) -> Option<Intended> {
    if under_way(replica) {
        return Some(Intended::Later);
    }
    let members = membership(replica);
    if members.get_joint_config().len() > 1 {
        // A leader that died between the two steps of a change left it to the next one. The
        // change under way here, if it is one, ends by itself.
        return Some(Intended::Now(ChangeMembers::AddVoterIds(BTreeSet::new())));
    }
    let mut later = false;
    for id in members.learner_ids() {
        let standing = members.get_node(&id).map(|node| node.standing);
        match standing {
            Some(Standing::Leaving) => {
                return Some(Intended::Now(ChangeMembers::RemoveNodes([id].into())));
            }
            Some(Standing::Voter) if in_sync(replica, id) => {
                tracing::info!(node = id, "a learner is in sync and becomes a voter");
                return Some(Intended::Now(ChangeMembers::AddVoterIds([id].into())));
            }
            Some(Standing::Voter) => later = true,
            Some(Standing::Learner) | None => {}
        }
    }
    later.then_some(Intended::Later)
}
