//! A member whose data is gone comes back under its number, with an empty directory.
//!
//! What it promised is forgotten: whom it voted for, and which entries it said it had. If that
//! member counted in a quorum, two leaders could share a term and an acknowledged entry could be
//! lost. Why that cannot happen:
//!
//! - Who a member is, is its number *and* its incarnation, the random number of its directory.
//!   Whoever asks for a vote or sends entries dials the incarnation that its own membership holds,
//!   and uses no connection to another one. So as long as the old member is in any node's
//!   membership, no node counts what the new directory says as a word of the old one.
//! - The old member loses its vote by a committed change: a majority of the voters, without the
//!   lost one, has that change on disk. A candidate that does not have it needs a vote of that
//!   majority, and is refused for its old log. The lost one's vote does not help it, whoever casts
//!   it: the voters outside that majority are fewer than a majority.
//! - Only then is the new directory taken in, as a learner with nothing. Raft makes one change of
//!   the membership at a time, so this one cannot overtake the one before. The entry goes and comes
//!   anew, rather than being altered, so that a leader forgets what it knew of the old log.
//! - It votes again once it is in sync, by the change that makes every learner a voter.
//!
//! On its way there the new directory reads memberships of the past, in which its number votes. It
//! may then stand for election, and is refused for the reasons above.

use hostd_planted::{self as planted, Bug};
use hostd_protocol::NodeId;
use openraft::ChangeMembers;
use tokio::time::Instant;

use super::{LOOK, invalid, is_voter, keep_a_voter, lag, propose};
use crate::{
    network::Refusal,
    replica::Replica,
    types::{Node, Standing},
};

/// So many times the longest election timeout may pass until a member that was just stopped is seen
/// to be gone.
const GONE_AFTER_ELECTIONS: u32 = 4;

/// Puts `node` in the place of the member `old`, as the leader, in the turn of a change. An attempt
/// that was interrupted goes on where it was: the members say how far it came.
pub(super) async fn replace(
    replica: &Replica,
    id: NodeId,
    old: Node,
    node: Node,
    deadline: Instant,
) -> Result<(), Refusal> {
    await_gone(replica, id, &old, deadline).await?;
    tracing::info!(
        node = id,
        address = node.address,
        "a member comes back with an empty directory: the old one goes, and it learns anew"
    );
    let standing = match old.standing {
        Standing::Learner => Standing::Learner,
        Standing::Voter | Standing::Leaving => Standing::Voter,
    };
    let node = Node { standing, ..node };
    if planted::active(Bug::KeepOldVote) {
        return propose(
            replica,
            ChangeMembers::SetNodes([(id, node)].into()),
            deadline,
        )
        .await;
    }
    unseat(replica, id, old, deadline).await?;
    propose(replica, ChangeMembers::RemoveNodes([id].into()), deadline).await?;
    propose(
        replica,
        ChangeMembers::AddNodes([(id, node)].into()),
        deadline,
    )
    .await
}

/// Takes a member's vote, if it has one.
pub(super) async fn unseat(
    replica: &Replica,
    id: NodeId,
    node: Node,
    deadline: Instant,
) -> Result<(), Refusal> {
    if !is_voter(replica, id) {
        return Ok(());
    }
    keep_a_voter(replica, id)?;
    let leaving = Node {
        standing: Standing::Leaving,
        ..node
    };
    let changes = vec![
        ChangeMembers::SetNodes([(id, leaving)].into()),
        ChangeMembers::RemoveVoters([id].into()),
    ];
    propose(replica, ChangeMembers::Batch(changes), deadline).await
}

/// Waits until the old member does not answer any more. One that goes on answering is alive: then
/// two machines have the same number.
async fn await_gone(
    replica: &Replica,
    id: NodeId,
    old: &Node,
    deadline: Instant,
) -> Result<(), Refusal> {
    let patience = replica.inner().config.timing.election_max * GONE_AFTER_ELECTIONS;
    let deadline = deadline.min(Instant::now() + patience);
    while id == replica.id() || lag(replica, id).is_some() {
        if Instant::now() + LOOK >= deadline {
            return Err(invalid(format!(
                "{}, which is alive and answers: stop that one first, or take another number",
                number_in_use_by(id, &old.address)
            )));
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

fn number_in_use_by(id: NodeId, address: &str) -> String {
    format!("node number {id} is in use, by the member at {address}")
}

/// What a node is told that comes with the number of a member and another directory.
pub(crate) fn number_in_use(id: NodeId, address: &str) -> String {
    format!(
        "{}; if that is this node and it lost its data, start it with --recover: it then takes the \
         place of the old one and learns everything anew",
        number_in_use_by(id, address)
    )
}
