//! Sees to it that what is intended for each node comes true.

use std::collections::BTreeSet;

use hostd_protocol::NodeId;
use openraft::{ChangeMembers, async_runtime::WatchReceiver};
use tokio::time::Instant;

use super::{LOOK, OWN_CHANGE_TIMEOUT, in_sync, membership, propose, take_in, turn, under_way};
use crate::{
    network::{Ask, Destination, Joiner},
    replica::{ASK_TIMEOUT, Replica},
    types::{Node, Standing},
};

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
        replaces: false,
        honours: replica.honours(),
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
