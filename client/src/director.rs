//! A task beside the calls that keeps the client's picture of the cluster fresh, and moves the
//! client to the leader, where a call takes one hop less.

use std::sync::Arc;
use std::time::Duration;

use hostd_protocol::{Request, Response};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::cluster::{Cluster, Route};

/// Members change without anything going wrong: a new node is to be known before it is needed.
const REFRESH_EVERY: Duration = Duration::from_secs(30);

/// A node that takes longer to name the members is of no use now.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// First pause after a look that found no leader; doubled up to the last one.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_LAST: Duration = Duration::from_secs(2);

/// The running task. Ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Director(JoinHandle<()>);

impl Director {
    pub(crate) fn start(cluster: Arc<Cluster>) -> Self {
        Self(tokio::spawn(direct(cluster)))
    }
}

impl Drop for Director {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Looks when something is unsettled, and now and then.
async fn direct(cluster: Arc<Cluster>) {
    let mut pause = PAUSE_FIRST;
    let mut wait = REFRESH_EVERY;
    loop {
        // Either way it is time to look.
        let _ = timeout(wait, cluster.unsettled.notified()).await;
        if follow(&cluster).await {
            pause = PAUSE_FIRST;
            wait = REFRESH_EVERY;
        } else {
            wait = pause;
            pause = (pause * 2).min(PAUSE_LAST);
        }
    }
}

/// Asks for the members and goes to the leader. Whether there is nothing more to do.
async fn follow(cluster: &Cluster) -> bool {
    // Nobody is dialled for this: the next call does so, and dead nodes are left in peace.
    for route in cluster.connected() {
        let Ok(pending) = route.link.send(&Request::Members) else {
            continue;
        };
        if let Ok(Ok(Ok(Response::Members(members)))) = timeout(ANSWER_WITHIN, pending).await {
            cluster.learn_members(&members);
            return members.iter().any(|member| member.leader) && lead(cluster).await;
        }
    }
    false
}

/// Makes the leader the primary. Whether it is.
async fn lead(cluster: &Cluster) -> bool {
    let Some(leader) = cluster.leader() else {
        return false;
    };
    let present = cluster.primary();
    if present.is_some_and(|route| Arc::ptr_eq(&route.node, &leader)) {
        return true;
    }
    match leader.reach(&cluster.dialer).await {
        Ok(link) if !cluster.is_silent(&link) => {
            cluster.settle(Route { node: leader, link });
            true
        }
        _ => false,
    }
}
