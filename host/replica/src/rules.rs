//! A cluster goes over to newer rules once all who have a say can follow them.
//!
//! While hostd is upgraded node by node, all nodes follow the rules that the oldest of them knows. The
//! leader asks what the others can honour and logs the change; a voter that could not follow would have
//! to stop.

use std::time::Duration;

use hostd_planted::{self as planted, Bug};
use hostd_protocol::{Command, EngineIdentity, NodeStatus};
use openraft::async_runtime::WatchReceiver;

use crate::{membership::is_voter, network::Refusal, replica::Replica};

/// Between two looks at what the members can follow, while this node leads.
const LOOK: Duration = Duration::from_secs(1);

/// Sees to it that the newest rules that everybody can follow are followed. Runs until the replica
/// stops; only the leader does anything.
pub(crate) async fn keep(replica: Replica) {
    let mut server = replica.inner().raft.server_metrics();
    loop {
        let alive = if replica.is_leader() {
            if let Err(refusal) = raise(&replica).await {
                tracing::debug!(reason = %refusal.failure, "newer rules have to wait");
            }
            tokio::time::timeout(LOOK, server.changed())
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
    let members = replica.status(true).await;
    let all_can = |engine: &&EngineIdentity| {
        members.iter().all(|member| can(replica, member, engine))
            || planted::active(Bug::RulesUnasked)
    };
    let Some(engine) = newer.iter().find(all_can) else {
        return Ok(());
    };
    tracing::info!(
        rules = engine.rules,
        wasmtime = engine.wasmtime,
        "every voter can follow newer rules: the cluster goes over to them"
    );
    let command = Command::Engine {
        engine: engine.clone(),
    };
    let mut proposed = replica.inner().proposer.propose(command)?;
    drop(proposed.answer().await?);
    Ok(())
}

/// Whether a member can follow, or has no say: a learner that does not answer must not hold up the
/// others.
fn can(replica: &Replica, member: &NodeStatus, engine: &EngineIdentity) -> bool {
    member.honours.contains(engine) || (!member.reachable && !is_voter(replica, member.id))
}
