//! Leadership handed from one voter to another.

use hostd_protocol::{Failure, FailureCode, NodeId};
use tokio::time::{Instant, timeout_at};

use super::{LOOK, best_voter, in_sync, invalid, is_voter, known};
use crate::{network::Refusal, propose::stopped, replica::Replica};

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
