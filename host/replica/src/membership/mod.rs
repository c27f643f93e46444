//! Who belongs to the cluster, and how that changes.
//!
//! Every change is worked out from the members as they are, so that one that was interrupted, or
//! asked for twice, ends as if it had been done once. What is intended for a node is part of the
//! membership (see [`crate::types::Standing`]); the leader sees to it that it comes true.

mod change;
mod join;
mod keep;
mod replace;
mod transfer;

use std::time::Duration;

use hostd_protocol::{Failure, FailureCode, NodeId};
use openraft::{
    ChangeMembers, Instant as _,
    async_runtime::WatchReceiver,
    errors::{ChangeMembershipError, ClientWriteError, RaftError},
};
use tokio::time::{Instant, timeout_at};

pub use self::join::{FormError, Formation};
pub(crate) use self::{
    change::{change, take_in},
    join::{note_joined, tell_vote},
    keep::keep,
    replace::number_in_use,
    transfer::transfer,
};
use crate::{
    network::Refusal,
    propose::{refusal, stopped},
    replica::{Replica, no_quorum},
    types::{Membership, Node},
};

/// A learner that lacks no more entries than this is in sync.
const IN_SYNC_ENTRIES: u64 = 32;
/// Between two looks at learners that catch up, and at changes that wait for another.
const LOOK: Duration = Duration::from_millis(100);
/// A change that nobody waits for takes as long as it may.
const OWN_CHANGE_TIMEOUT: Duration = Duration::from_secs(10);

/// One change at a time; the next waits for its turn.
pub(crate) async fn turn(
    replica: &Replica,
    deadline: Instant,
) -> Result<tokio::sync::MutexGuard<'_, ()>, Refusal> {
    timeout_at(deadline, replica.inner().changing.lock())
        .await
        .map_err(|_| another_is_under_way())
}

fn another_is_under_way() -> Refusal {
    Refusal::untouched(Failure::new(
        FailureCode::Timeout,
        "another change of the membership is under way",
    ))
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
        if !wait {
            return Err(refusal(error));
        }
        // Whoever asked may try again: it is not at fault.
        if Instant::now() + LOOK >= deadline {
            return Err(another_is_under_way());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Whether the last change is not committed yet, as far as this node has applied; Raft makes one
/// at a time.
fn under_way(replica: &Replica) -> bool {
    let newest = replica.membership_index();
    let applied = replica.applied_membership();
    newest > applied.log_id().as_ref().map(openraft::LogId::index)
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
