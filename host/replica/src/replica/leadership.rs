//! What changes by itself: who leads, and whether this node can go on.

use openraft::{ServerState, async_runtime::WatchReceiver};
use tokio::sync::watch;

use super::{Leadership, Replica};
use crate::{observe, types::Nodes};

/// Publishes who leads, and tells the transport who the members are.
pub(super) async fn watch_leadership(replica: Replica) {
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
            let another = known.leader.as_ref().map(|(id, _)| id)
                != leadership.leader.as_ref().map(|(id, _)| id);
            if another && leadership.leader.is_some() {
                replica.inner.measures.leader_changed();
            }
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
pub(super) async fn watch_faults(replica: Replica) {
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

pub(super) async fn first_fault(fault: &mut watch::Receiver<Option<String>>) -> String {
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
