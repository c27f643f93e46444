//! What clients ask of the cluster through this node: whoever leads does it, and this node finds
//! out who that is.

use std::{future::Future, time::Duration};

use hostd_planted::{self as planted, Bug};
use hostd_protocol::{Command, Failure, FailureCode, MemberChange, NodeId, Outcome};
use openraft::{
    Instant as _, LinearizerOption, ServerState, async_runtime::WatchReceiver, errors::RaftError,
};
use tokio::time::{Instant, timeout_at};

use super::{Leadership, Replica, quarantined};
use crate::{
    membership,
    network::{Ask, Destination, Refusal, Tell},
    propose::{Proposed, not_leader, stopped},
    room, timekeeper,
    types::Node,
};

/// Between two attempts at what needs a leader, unless the leader changes.
pub(super) const ATTEMPT_PAUSE: Duration = Duration::from_millis(25);
/// The least time that an attempt must have.
pub(super) const ATTEMPT_MIN: Duration = Duration::from_millis(50);

/// How often a call that is under way looks whether the leader still has its majority.
const LEASE_LOOK: Duration = Duration::from_millis(250);

impl Replica {
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

    pub(super) async fn write_here(
        &self,
        command: Command,
        deadline: Instant,
    ) -> Result<Outcome, Refusal> {
        if self.inner.shortage.is_on() {
            return Err(Refusal::untouched(room::no_space(self)));
        }
        let proposed = self.inner.proposer.propose(command)?;
        self.settle(proposed, deadline).await
    }

    /// Waits for what a proposed call comes to, as long as that makes sense.
    pub(super) async fn settle(
        &self,
        mut proposed: Proposed,
        deadline: Instant,
    ) -> Result<Outcome, Refusal> {
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

    pub(super) async fn read_index_once(&self, deadline: Instant) -> Result<u64, Refusal> {
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

    pub(super) async fn read_index_here(&self) -> Result<u64, Refusal> {
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

    pub(super) async fn checkpoint_here(&self) -> Result<u64, Refusal> {
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

    pub(super) fn with_leader(&self, mut failure: Failure) -> Failure {
        if failure.leader.is_none() {
            failure
                .leader
                .clone_from(&self.inner.leadership.borrow().leader);
        }
        failure
    }

    pub(super) fn route(&self) -> Route {
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

    pub(super) async fn ask_leader(
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
}

/// Another node that leads.
pub(super) struct Leader {
    id: NodeId,
    node: Node,
    term: u64,
}

/// Where a leader's work is done.
pub(super) enum Route {
    Here,
    To(Leader),
    Nowhere(Failure),
}

pub(crate) fn remaining(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

pub(crate) fn no_quorum() -> Failure {
    Failure::new(
        FailureCode::NoQuorum,
        "the leader cannot reach a majority of the members",
    )
}

pub(super) fn misunderstood() -> Refusal {
    Refusal::unknown(Failure::new(
        FailureCode::Fault,
        "the other node gave an answer to another question",
    ))
}
