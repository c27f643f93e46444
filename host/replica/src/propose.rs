//! From calls to log entries: what waits together becomes one entry.
//!
//! A call that finds nothing under way is proposed as soon as what came in with it has had its
//! turn. Calls that come while entries are under way wait, and the end of an entry proposes all of them as one. Under
//! load entries therefore grow instead of multiplying, and nobody waits for a timer.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::FutureExt;
use hostd_planted::{self as planted, Bug};
use hostd_protocol::{
    Batch, Command, Entry, Failure, FailureCode, NodeId, Outcome, PluginChange, PolicyChange,
};
use openraft::{
    errors::{ClientWriteError, ForwardReason, ForwardToLeader},
    raft::ClientWriteResult,
};
use tokio::sync::oneshot;

use crate::{
    config::{Clock, Entropy},
    measure::Measures,
    network::Refusal,
    replica::Raft,
    types::{Callback, Node, Payload, TypeConfig},
};

/// Bounds of the queue and of entries.
#[derive(Clone, Copy, Debug)]
pub struct ProposeLimits {
    /// Calls that may wait; one more is refused as overloaded.
    pub waiting_max: usize,
    /// Bytes of calls that may wait.
    pub waiting_bytes_max: usize,
    /// Calls in one entry.
    pub entry_commands_max: usize,
    /// Bytes of one entry, unless a single call is larger.
    pub entry_bytes_max: usize,
    /// Entries under way at the same time.
    pub in_flight_max: usize,
    /// Calls that must wait for a second entry to be proposed while one is under way; twice as
    /// many for a third, and so on.
    pub pipeline_commands_min: usize,
}

impl Default for ProposeLimits {
    fn default() -> Self {
        Self {
            waiting_max: 16_384,
            waiting_bytes_max: 64 << 20,
            entry_commands_max: 2_048,
            entry_bytes_max: 512 << 10,
            in_flight_max: 4,
            pipeline_commands_min: 64,
        }
    }
}

/// What one call came to.
pub(crate) type Answer = Result<Outcome, Refusal>;

/// Gives batches their time and seed.
pub(crate) struct Stamp {
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
}

/// The queue in front of Raft.
#[derive(Clone)]
pub(crate) struct Proposer(Arc<Shared>);

struct Shared {
    /// What ends an entry may run on a thread that has none.
    runtime: tokio::runtime::Handle,
    raft: Raft,
    stamp: Stamp,
    limits: ProposeLimits,
    queue: Mutex<Queue>,
    measures: Arc<Measures>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    in_flight: usize,
    /// Calls that wait or are under way.
    pending: usize,
    /// Entries that are made up and not given to Raft yet.
    outgoing: VecDeque<Vec<Waiting>>,
    /// Some thread gives them to Raft, one after another: two at once could swap them.
    submitting: bool,
    /// A task is about to propose what waits.
    gathering: bool,
    /// Number of the last call.
    calls: u64,
}

struct Waiting {
    number: u64,
    command: Command,
    bytes: usize,
    answer: oneshot::Sender<Answer>,
}

/// A call in the queue or under way.
pub(crate) struct Proposed {
    proposer: Proposer,
    number: u64,
    answer: oneshot::Receiver<Answer>,
}

impl Proposer {
    pub(crate) fn new(
        raft: Raft,
        stamp: Stamp,
        limits: ProposeLimits,
        measures: Arc<Measures>,
    ) -> Self {
        Self(Arc::new(Shared {
            runtime: tokio::runtime::Handle::current(),
            raft,
            stamp,
            limits,
            queue: Mutex::default(),
            measures,
        }))
    }

    /// Queues a call, and proposes it at once if nothing forbids.
    pub(crate) fn propose(&self, command: Command) -> Result<Proposed, Refusal> {
        let mut proposed = self.propose_in_order(vec![command]);
        proposed.pop().expect("one command, one proposal")
    }

    /// Queues calls so that they are logged in this order, and nothing between them is refused while
    /// what follows is not.
    pub(crate) fn propose_in_order(
        &self,
        commands: Vec<Command>,
    ) -> Vec<Result<Proposed, Refusal>> {
        let proposed = {
            let mut queue = self.0.lock();
            let mut full = false;
            let proposed = commands
                .into_iter()
                .map(|command| {
                    let pushed = if full {
                        None
                    } else {
                        queue.push(command, &self.0.limits)
                    };
                    full = pushed.is_none();
                    let (number, answer) = pushed.ok_or_else(|| {
                        self.0.measures.proposals_failed(1);
                        Refusal::untouched(Failure::new(
                            FailureCode::Overloaded,
                            "as many commands as may wait are waiting; try again later",
                        ))
                    })?;
                    Ok(Proposed {
                        proposer: self.clone(),
                        number,
                        answer,
                    })
                })
                .collect();
            if queue.in_flight == 0 {
                self.0.gather(&mut queue);
            } else {
                queue.next_batch(&self.0.limits);
            }
            proposed
        };
        self.0.submit_all();
        proposed
    }

    /// Calls that wait or are under way.
    pub(crate) fn pending(&self) -> usize {
        self.0.lock().pending
    }

    /// Logs an entry that is not a batch and waits until it is applied here.
    pub(crate) async fn propose_entry(&self, entry: Entry) -> Result<(), Refusal> {
        let (sender, receiver) = oneshot::channel();
        let callback = Callback::new(move |result: Option<ClientWriteResult<TypeConfig>>| {
            let answer = match result {
                Some(Ok(_)) => Ok(()),
                Some(Err(error)) => Err(refusal(error)),
                None => Err(stopped()),
            };
            drop(sender.send(answer));
        });
        self.0
            .raft
            .client_write_ff(Payload::new(entry), Some(callback))
            .await
            .map_err(|_| Refusal::untouched(stopped().failure))?;
        receiver.await.map_err(|_| stopped())?
    }
}

impl Proposed {
    /// Waits for the outcome.
    pub(crate) async fn answer(&mut self) -> Answer {
        (&mut self.answer).await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Whether the call still waits for its turn.
    pub(crate) fn is_waiting(&self) -> bool {
        let queue = self.proposer.0.lock();
        queue.place(self.number).is_some()
    }

    /// Gives the call up. Returns whether it is certain that it was not proposed and never will
    /// be.
    pub(crate) fn withdraw(&mut self) -> bool {
        let mut queue = self.proposer.0.lock();
        let place = queue.place(self.number);
        let Some(removed) = place.and_then(|place| queue.waiting.remove(place)) else {
            return false;
        };
        queue.bytes -= removed.bytes;
        queue.pending -= 1;
        true
    }
}

impl Queue {
    /// Puts a call at the end; `None` when as many as may wait do.
    fn push(
        &mut self,
        command: Command,
        limits: &ProposeLimits,
    ) -> Option<(u64, oneshot::Receiver<Answer>)> {
        let bytes = command_bytes(&command);
        if self.waiting.len() >= limits.waiting_max
            || (self.bytes > 0 && self.bytes + bytes > limits.waiting_bytes_max)
        {
            return None;
        }
        let (answer, receiver) = oneshot::channel();
        self.calls += 1;
        self.pending += 1;
        self.bytes += bytes;
        self.waiting.push_back(Waiting {
            number: self.calls,
            command,
            bytes,
            answer,
        });
        Some((self.calls, receiver))
    }

    /// Where a call waits. Numbers rise along the queue.
    fn place(&self, number: u64) -> Option<usize> {
        self.waiting
            .binary_search_by_key(&number, |waiting| waiting.number)
            .ok()
    }

    /// Makes up the entry that is to be proposed now, if one is.
    fn next_batch(&mut self, limits: &ProposeLimits) {
        // An entry costs every node a message and a sync, however small it is. A further one at
        // the same time must be worth that, or its calls are better off with the next.
        let worth = match self.in_flight {
            0 => 1,
            more => more * limits.pipeline_commands_min,
        };
        if self.in_flight >= limits.in_flight_max || self.waiting.len() < worth {
            return;
        }
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < limits.entry_commands_max {
            let Some(next) = self.waiting.front() else {
                break;
            };
            if bytes > 0 && bytes + next.bytes > limits.entry_bytes_max {
                break;
            }
            let next = self.waiting.pop_front().expect("there is a first one");
            self.bytes -= next.bytes;
            // Nobody waits for it any more, and nobody may be surprised by it later.
            if next.answer.is_closed() {
                self.pending -= 1;
                continue;
            }
            bytes += next.bytes;
            batch.push(next);
        }
        if !batch.is_empty() {
            self.in_flight += 1;
            self.outgoing.push_back(batch);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Proposes what waits once everything that has come in by now had its turn: the answers of an
    /// entry set many clients free at once, and their next calls are one entry again.
    fn gather(self: &Arc<Self>, queue: &mut Queue) {
        if queue.gathering {
            return;
        }
        queue.gathering = true;
        let shared = Arc::clone(self);
        self.runtime.spawn(async move {
            tokio::task::yield_now().await;
            {
                let mut queue = shared.lock();
                queue.gathering = false;
                queue.next_batch(&shared.limits);
            }
            shared.submit_all();
        });
    }

    /// Gives Raft what is made up, in the order in which it was.
    fn submit_all(self: &Arc<Self>) {
        loop {
            let batch = {
                let mut queue = self.lock();
                if queue.submitting {
                    return;
                }
                let Some(batch) = queue.outgoing.pop_front() else {
                    return;
                };
                queue.submitting = true;
                batch
            };
            // No lock is held: when Raft has stopped, this already ends the entry.
            self.submit(batch);
            self.lock().submitting = false;
        }
    }

    fn submit(self: &Arc<Self>, batch: Vec<Waiting>) {
        let mut seed = [0; 16];
        (self.stamp.entropy)(&mut seed);
        let (commands, answers): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .map(|waiting| (waiting.command, waiting.answer))
            .unzip();
        let payload = Payload::new(Entry::Batch(Batch {
            time: (self.stamp.clock)(),
            seed,
            commands,
        }));
        let shared = Arc::clone(self);
        let callback = Callback::new(move |result: Option<ClientWriteResult<TypeConfig>>| {
            if !matches!(result, Some(Ok(_))) {
                shared.measures.proposals_failed(answers.len());
            }
            // The next entry first: it has the longer way to go.
            shared.entry_ended(answers.len());
            answer_all(answers, result);
        });
        let raft = self.raft.clone();
        let mut send = Box::pin(async move {
            // When Raft has stopped, the callback is dropped, which answers those who wait.
            drop(raft.client_write_ff(payload, Some(callback)).await);
        });
        // Raft's queue has room for far more than is ever under way.
        if (&mut send).now_or_never().is_none() {
            self.runtime.spawn(send);
        }
    }

    fn entry_ended(self: &Arc<Self>, calls: usize) {
        {
            let mut queue = self.lock();
            queue.in_flight -= 1;
            queue.pending -= calls;
            queue.next_batch(&self.limits);
        }
        self.submit_all();
    }
}

fn answer_all(
    answers: Vec<oneshot::Sender<Answer>>,
    result: Option<ClientWriteResult<TypeConfig>>,
) {
    // Those who wait may have gone away; their outcome is in the state all the same.
    match result {
        Some(Ok(response)) => {
            let mut outcomes = response.data.outcomes;
            if planted::active(Bug::SwapReplies) {
                outcomes.reverse();
            }
            let mut outcomes = outcomes.into_iter();
            for answer in answers {
                // A batch has one outcome per command.
                let outcome = outcomes.next().ok_or_else(stopped);
                drop(answer.send(outcome));
            }
        }
        Some(Err(error)) => {
            let refusal = refusal(error);
            for answer in answers {
                drop(answer.send(Err(refusal.clone())));
            }
        }
        None => {
            for answer in answers {
                drop(answer.send(Err(stopped())));
            }
        }
    }
}

/// What a caller is told when Raft does not accept an entry.
pub(crate) fn refusal(error: ClientWriteError<TypeConfig>) -> Refusal {
    match error {
        ClientWriteError::ForwardToLeader(forward) => Refusal::untouched(not_leader(&forward)),
        ClientWriteError::LogEntryDiscarded(forward) => Refusal::unknown(Failure {
            code: FailureCode::Timeout,
            message: "the leader changed while the command was under way; its outcome is unknown"
                .into(),
            leader: leader_of(&forward),
        }),
        other => Refusal::untouched(Failure::new(
            FailureCode::InvalidArgument,
            other.to_string(),
        )),
    }
}

/// What a caller is told by a node that is not, or no longer, a working leader.
pub(crate) fn not_leader(forward: &ForwardToLeader<TypeConfig>) -> Failure {
    let (code, message) = match forward.reason {
        ForwardReason::LeaseExpired => (
            FailureCode::NoQuorum,
            "the leader cannot reach a majority of the members",
        ),
        ForwardReason::LeadershipTransfer => (
            FailureCode::NoLeader,
            "leadership is passing to another node",
        ),
        ForwardReason::NotLeader => (FailureCode::NoLeader, "this node is not the leader"),
    };
    Failure {
        code,
        message: message.into(),
        leader: leader_of(forward),
    }
}

fn leader_of(forward: &ForwardToLeader<TypeConfig>) -> Option<(NodeId, String)> {
    let node: &Node = forward.leader_node.as_ref()?;
    Some((forward.leader_id?, node.address.clone()))
}

/// What a caller is told when this node stopped while its command was under way.
pub(crate) fn stopped() -> Refusal {
    Refusal::unknown(Failure::new(
        FailureCode::Fault,
        "this node is stopping; the outcome is unknown",
    ))
}

/// Bytes that a command adds to an entry, roughly.
fn command_bytes(command: &Command) -> usize {
    const OVERHEAD_BYTES: usize = 32;
    OVERHEAD_BYTES
        + match command {
            Command::Call {
                principal,
                plugin,
                command,
                arguments,
                once,
            } => {
                let once = match once {
                    Some(hostd_protocol::Once::Key(key)) => key.len(),
                    _ => 0,
                };
                principal.len()
                    + plugin.as_ref().map_or(0, String::len)
                    + command.len()
                    + once
                    + arguments
                        .iter()
                        .map(|argument| argument.len() + 4)
                        .sum::<usize>()
            }
            Command::Install {
                principal,
                component,
            } => principal.len() + component.len(),
            Command::Plugin { principal, change } => {
                let bytes = match change {
                    PluginChange::Upload { bytes, .. } => bytes.len(),
                    _ => 256,
                };
                principal.len() + bytes
            }
            Command::Found { .. } | Command::Engine { .. } | Command::Wake | Command::Work => 256,
            Command::Policy { principal, change } => principal.len() + policy_bytes(change),
            Command::Token { principal, .. } => principal.len() + 256,
            Command::OpenSession { principal } | Command::CloseSession { principal, .. } => {
                principal.len()
            }
        }
}

/// What a change of the policy takes, about.
fn policy_bytes(change: &PolicyChange) -> usize {
    match change {
        PolicyChange::Allow(rules) | PolicyChange::Revoke(rules) => rules
            .iter()
            .map(|rule| rule.to_string().len() + 16)
            .sum::<usize>(),
        PolicyChange::PutUser { name, .. } | PolicyChange::RemoveUser { name } => name.len() + 64,
    }
}
