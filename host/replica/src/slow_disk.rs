//! A leader whose own disk is slow. Nobody waits for it as long as the others are a majority; but
//! should one of them go, everybody would. So it hands leadership to a voter that keeps up.

use std::time::Duration;

use tokio::time::Instant;

use crate::{membership, replica::Replica};

/// How often to look.
const LOOK: Duration = Duration::from_secs(1);
/// Between two attempts to hand leadership over, which somebody must accept.
const HAND_OVER: Duration = Duration::from_secs(5);

/// Looks at the log's writer for as long as the replica runs.
pub(crate) async fn watch(replica: Replica) {
    let patience = replica.inner().config.timing.election_max * 2;
    let mut applied = replica.applied_index();
    loop {
        tokio::time::sleep(LOOK).await;
        let before = std::mem::replace(&mut applied, replica.applied_index());
        let waits = replica.inner().writer_waits();
        // The others go on: their disks keep up with what this one is still busy with.
        let outrun = waits.is_some_and(|waits| waits >= patience) && applied > before;
        if !outrun || !replica.is_leader() {
            continue;
        }
        tracing::warn!("this node's disk is slow; leadership goes to a node whose disk is not");
        let deadline = Instant::now() + HAND_OVER;
        if let Err(refusal) = membership::transfer(&replica, None, deadline).await {
            tracing::info!(reason = %refusal.failure, "leadership was not handed over");
        }
        tokio::time::sleep(HAND_OVER).await;
    }
}
