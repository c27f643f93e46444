//! How a node begins: alone, with others that begin now, or by joining a cluster.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use hostd_protocol::{Failure, FailureCode};
use openraft::errors::{InitializeError, RaftError};
use thiserror::Error;
use tokio::time::Instant;

use super::{LOOK, OWN_CHANGE_TIMEOUT};
use crate::{
    log_store::Fact,
    network::{Ask, Destination, Joiner, Meeting, Tell},
    observe,
    replica::{ASK_TIMEOUT, Replica},
    types::{Node, Nodes, Standing, StoredMembership},
};

/// Between two attempts to reach any of the nodes to join.
const JOIN_PAUSE: Duration = Duration::from_millis(500);
/// Between two times that a node asks to be taken in, when it was told that it is.
const ASK_AGAIN: Duration = Duration::from_secs(5);

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
        let begun = match formation {
            // Its log says nothing: a leader may have sent it, and lost what made this node a
            // member of its cluster.
            Formation::Join { .. } => self.has_joined(),
            Formation::Expect { .. } if self.replaces() => self.has_joined(),
            Formation::Alone | Formation::Expect { .. } => self.is_initialized(),
        };
        if begun {
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
            replaces: self.replaces(),
            honours: self.honours(),
        };
        let mut patience = Complaints::new();
        let mut addresses = through.clone();
        let mut hints: Vec<String> = Vec::new();
        loop {
            if self.has_joined() {
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
                    Ok(_) => match tokio::time::timeout(ASK_AGAIN, self.until_joined()).await {
                        Ok(joined) => return joined,
                        Err(_) => reason = "the log has not come yet".into(),
                    },
                    Err(refusal)
                        if matches!(
                            refusal.failure.code,
                            FailureCode::InvalidArgument | FailureCode::PermissionDenied
                        ) =>
                    {
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
            if self.replaces() {
                reason += "; the others must be a majority of the voters without this node";
            }
            patience.complain("joining", &reason);
            // A leader that was just named is asked at once; one that was of no use, later.
            if hints.iter().all(|hint| tried.contains(hint)) {
                tokio::time::sleep(JOIN_PAUSE).await;
            }
            addresses.extend(hints.iter().chain(&through).cloned());
        }
    }

    /// Waits until a membership that names this node is applied here. A leader that says so may be
    /// deposed before its word counts.
    async fn until_joined(&self) -> Result<(), FormError> {
        let mut membership = self.membership();
        match membership.wait_for(|now| names(now, self)).await {
            Ok(_) => Ok(()),
            Err(_) => Err(FormError::Stopped),
        }
    }

    /// Whether the cluster has removed this node, or given its number to another directory: one of
    /// those who answer has applied a membership without it, which is no older than what this node
    /// knows. The members that it knows are asked, and whoever listens at `addresses`. That nobody
    /// answers says nothing.
    pub async fn is_removed(&self, mut addresses: Vec<String>) -> bool {
        if !self.inner().log.knows(Fact::Joined) {
            return false;
        }
        addresses.extend(self.nodes().into_values().map(|node| node.address));
        addresses.sort();
        addresses.dedup();
        let answers = addresses.iter().map(|address| self.meet(address));
        let answers = futures_util::future::join_all(answers).await;
        answers.into_iter().flatten().any(|meeting| {
            let member = meeting.members.get(&self.id());
            meeting.id != self.id()
                && meeting.membership.is_some()
                && meeting.membership >= self.membership_index()
                && member.is_none_or(|member| member.incarnation != self.incarnation())
        })
    }

    /// Whether this node is or was a member of the cluster whose log it has.
    pub(crate) fn has_joined(&self) -> bool {
        self.inner().log.knows(Fact::Joined) || names(&self.applied_membership(), self)
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
            if begun && self.replaces() {
                return self.join(through, false).await;
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

    pub(super) async fn meet(&self, address: &str) -> Result<Meeting, Failure> {
        let destination = Destination::Address(address.to_owned());
        match self.ask(destination, Ask::Meet, ASK_TIMEOUT).await {
            Ok(Tell::Met(meeting)) => Ok(meeting),
            Ok(_) => Err(Failure::new(FailureCode::Fault, "it gave another answer")),
            Err(refusal) => Err(refusal.failure),
        }
    }
}

/// Whether a membership names this node: this directory of it, and not one that had its number
/// before.
fn names(membership: &StoredMembership, replica: &Replica) -> bool {
    let node = membership.membership().get_node(&replica.id());
    node.is_some_and(|node| node.incarnation == replica.incarnation())
}

/// Remembers that this node was a member, so that one that was removed does not ask to come back
/// when it is started again. Runs until that is done, or the replica stops.
pub(crate) async fn note_joined(replica: Replica) {
    if replica.until_joined().await.is_ok()
        && let Err(error) = replica.inner().log.note(Fact::Joined, true).await
    {
        tracing::error!(%error, "that this node is a member is not remembered");
    }
}

/// Tells when this node finds itself among the voters. Runs until the replica stops.
pub(crate) async fn tell_vote(replica: Replica) {
    let mut membership = replica.membership();
    let mut told = false;
    loop {
        let now = Arc::clone(&membership.borrow_and_update());
        let votes = names(&now, &replica) && replica.counts(replica.id());
        if votes && !told {
            observe::votes();
        }
        told = votes;
        if membership.changed().await.is_err() {
            return;
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
