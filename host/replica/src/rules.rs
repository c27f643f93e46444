//! A cluster goes over to newer rules once all its members can follow them.
//!
//! While hostd is upgraded node by node, all nodes follow the rules that the oldest of them knows. The
//! leader asks what the others can honour and logs the change; a member that could not follow would have
//! to stop. So one that does not answer holds it up, learner or not, and no member is replaced meanwhile:
//! for a moment it would be none.

use std::time::Duration;

use hostd_planted::{self as planted, Bug};
use hostd_protocol::{Command, EngineIdentity};
use openraft::async_runtime::WatchReceiver;
use tokio::time::{Instant, timeout};

use crate::{membership::turn, network::Refusal, replica::Replica};

/// Between two looks at what the members can follow, while this node leads.
const LOOK: Duration = Duration::from_secs(1);
/// How long the change may take until others may be made.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Sees to it that the newest rules that everybody can follow are followed. Runs until the replica
/// stops; only the leader does anything.
pub(crate) async fn keep(replica: Replica) {
    let mut server = replica.inner().raft.server_metrics();
    loop {
        let alive = if replica.is_leader() {
            if let Err(refusal) = raise(&replica).await {
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

/// Logs the change to the newest rules that this node and all others can follow, if those in force are
/// older.
async fn raise(replica: &Replica) -> Result<(), Refusal> {
    let newer = {
        let view = replica.views().latest();
        let Some(runs) = view.runs() else {
            return Ok(());
        };
        let honours = view.honours().iter().rev();
        honours
            .take_while(|known| known.rules > runs.rules)
            .cloned()
            .collect::<Vec<_>>()
    };
    if newer.is_empty() {
        return Ok(());
    }
    let _turn = turn(replica, Instant::now() + LOOK).await?;
    let members = replica.status(true).await;
    let all_can = |engine: &&EngineIdentity| {
        let mut members = members.iter();
        members.all(|member| member.honours.contains(engine)) || planted::active(Bug::RulesUnasked)
    };
    let Some(engine) = newer.iter().find(all_can) else {
        return Ok(());
    };
    tracing::info!(
        rules = engine.rules,
        wasmtime = engine.wasmtime,
        "all members can follow newer rules: the cluster goes over to them"
    );
    let command = Command::Engine {
        engine: engine.clone(),
    };
    let mut proposed = replica.inner().proposer.propose(command)?;
    // Changes of the membership wait for this one, but not for a majority that is out of reach.
    match timeout(ANSWER_TIMEOUT, proposed.answer()).await {
        Ok(answer) => answer.map(drop),
        Err(_) => Ok(()),
    }
}
