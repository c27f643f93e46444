//! A cluster goes over to newer rules once all its members can follow them.
//!
//! While hostd is upgraded node by node, all nodes follow the rules that the oldest of them knows. The
//! leader asks what the others can honour and logs the change; a member that could not follow would have
//! to stop. So one that does not answer holds it up, learner or not, and nothing happens for a while after
//! the membership or the leader changed: a member that is being replaced is none for a moment.

use std::time::Duration;

use hostd_planted::{self as planted, Bug};
use hostd_protocol::{Command, EngineIdentity};
use openraft::async_runtime::WatchReceiver;
use tokio::time::{Instant, timeout};

use crate::{membership::turn, network::Refusal, replica::Replica, timekeeper};

/// Between two looks at what the members can follow, while this node leads.
const LOOK: Duration = Duration::from_secs(1);
/// How long members and leader must have been the same. A node that is being replaced asks more often.
const SETTLED: Duration = Duration::from_secs(3);
/// How long the change may take until others may be made.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Sees to it that the newest rules that everybody can follow are followed. Runs until the replica
/// stops; only the leader does anything.
pub(crate) async fn keep(replica: Replica) {
    let mut server = replica.inner().raft.server_metrics();
    let mut known = standing(&replica);
    let mut since = Instant::now();
    loop {
        let now = standing(&replica);
        if now != known {
            (known, since) = (now, Instant::now());
        }
        let alive = if replica.is_leader() {
            if since.elapsed() >= SETTLED
                && let Err(refusal) = raise(&replica, known).await
            {
                tracing::debug!(reason = %refusal.failure, "newer rules have to wait");
            }
            timeout(LOOK, server.changed())
                .await
                .map_or(true, |changed| changed.is_ok())
        } else {
            server.changed().await.is_ok()
        };
        if !alive {
            return;
        }
    }
}

/// The term, and the entry that made the membership.
fn standing(replica: &Replica) -> (u64, Option<u64>) {
    let term = replica.leadership().borrow().term;
    (term, replica.membership_index())
}

/// Logs the change to the newest rules that this node and all others can follow, if those in force are
/// older, while nothing changes.
async fn raise(replica: &Replica, known: (u64, Option<u64>)) -> Result<(), Refusal> {
    let Some(engine) = next(replica).await else {
        return Ok(());
    };
    // Again, when nobody joins or is replaced meanwhile.
    let _turn = turn(replica, Instant::now() + LOOK).await?;
    if next(replica).await.as_ref() != Some(&engine) || standing(replica) != known {
        return Ok(());
    }
    tracing::info!(%engine, "all members can follow newer rules: the cluster goes over to them");
    let mut proposed = replica
        .inner()
        .proposer
        .propose(Command::Engine { engine })?;
    // Changes of the membership wait for this one, but not for a majority that is out of reach.
    match timeout(ANSWER_TIMEOUT, proposed.answer()).await {
        Ok(answer) => drop(answer?),
        Err(_) => return Ok(()),
    }
    // A hostd that does not know the old rules any more can then start from what is on disk.
    timekeeper::make_checkpoint(replica).await
}

/// The newest engine that all members can honour, if the one in force is older.
async fn next(replica: &Replica) -> Option<EngineIdentity> {
    let newer: Vec<EngineIdentity> = {
        let view = replica.views().latest();
        let runs = view.runs()?.rules;
        let honours = view.honours().iter().rev();
        honours
            .take_while(|known| known.rules > runs)
            .cloned()
            .collect()
    };
    if newer.is_empty() {
        return None;
    }
    let members = replica.status(true).await;
    newer.into_iter().find(|engine| {
        let mut members = members.iter();
        members.all(|member| member.honours.contains(engine)) || planted::active(Bug::RulesUnasked)
    })
}
