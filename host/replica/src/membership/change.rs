//! What an administrator asks for: members added, promoted, demoted, removed.

use hostd_machine::policy::{Action, decide};
use hostd_protocol::{Failure, FailureCode, MemberChange, NodeId};
use openraft::ChangeMembers;
use tokio::time::Instant;

use super::{
    LOOK, OWN_CHANGE_TIMEOUT, in_sync, invalid, is_voter, keep_a_voter, known, number_in_use,
    propose,
    replace::{replace, unseat},
    transfer, turn,
};
use crate::{
    network::{Joiner, Refusal},
    replica::Replica,
    types::{Node, Standing},
};

/// Takes a node in, as the leader; or notices its new address.
pub(crate) async fn take_in(replica: &Replica, joiner: Joiner) -> Result<(), Refusal> {
    let deadline = Instant::now() + OWN_CHANGE_TIMEOUT;
    let Joiner {
        id,
        node,
        replaces,
        honours,
    } = joiner;
    let view = replica.views().latest();
    if let Some(runs) = view.runs().filter(|runs| !honours.contains(runs)) {
        return Err(invalid(format!(
            "the cluster runs {runs}, which node {id} does not know: start the hostd version there that the \
             other nodes run"
        )));
    }
    let name = format!("node-{id}");
    decide(view.policy(), &name, Action::Join(id))
        .map_err(|reason| Failure::new(FailureCode::PermissionDenied, reason))
        .map_err(Refusal::untouched)?;
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
        Some(known) if known.incarnation != node.incarnation => {
            if replaces {
                replace(replica, id, known, node, deadline).await
            } else {
                Err(invalid(number_in_use(id, &known.address)))
            }
        }
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
    if meeting.joined && member.is_none() {
        return Err(invalid(format!(
            "the node at {address} belongs to another cluster, or was removed from this one; if it was \
             removed, start it with --recover to bring it back"
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
    let joiner = Joiner {
        id,
        node,
        replaces: false,
        honours: meeting.honours,
    };
    take_in(replica, joiner).await?;
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
    // In two steps: first it loses its vote and is told so, then it is gone.
    unseat(replica, id, node, deadline).await?;
    propose(replica, ChangeMembers::RemoveNodes([id].into()), deadline).await
}
