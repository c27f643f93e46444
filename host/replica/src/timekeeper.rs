//! What a leader does by itself: founds a new cluster, wakes timers that are due, and makes
//! checkpoints. While there is nothing to do it proposes nothing, so an idle log does not grow.

use std::{sync::atomic::Ordering, time::Duration};

use hostd_protocol::{Command, EngineIdentity, Entry, TimeNs};
use openraft::async_runtime::WatchReceiver;
use tokio::time::Instant;

use crate::{divergence, network::Refusal, replica::Replica};

/// The shortest time between two looks at the state, however much is applied.
const REST: Duration = Duration::from_millis(5);
/// The longest time, while this node leads: the wall clock may be set.
const LOOK: Duration = Duration::from_secs(1);
/// After a proposal that failed.
const RETRY: Duration = Duration::from_millis(200);

/// Runs until the replica stops.
pub(crate) async fn run(replica: Replica) {
    let mut server = replica.inner().raft.server_metrics();
    let mut applied = replica.inner().progress.applied_next.clone();
    loop {
        if !replica.is_leader() {
            if server.changed().await.is_err() {
                return;
            }
            continue;
        }
        let next = match Turn::take(&replica).await {
            Ok(next) => next,
            Err(_) => RETRY,
        };
        // What is applied may set a timer; but not more often than every few milliseconds.
        let rested = Instant::now() + REST;
        let changed = async {
            let alive = applied.changed().await.is_ok();
            tokio::time::sleep_until(rested).await;
            alive
        };
        tokio::select! {
            alive = changed => if !alive { return },
            alive = server.changed() => if alive.is_err() { return },
            () = tokio::time::sleep(next) => {}
        }
    }
}

/// One look at the state.
struct Turn;

impl Turn {
    /// Does what is due, and returns when to look again.
    async fn take(replica: &Replica) -> Result<Duration, Refusal> {
        Self::found(replica).await?;
        let checkpoint = Self::checkpoint(replica).await?;
        let wake = Self::wake(replica).await?;
        let work = Self::work(replica).await?;
        Ok(checkpoint.min(wake).min(work).clamp(REST, LOOK))
    }

    /// The first leader's first proposal.
    async fn found(replica: &Replica) -> Result<(), Refusal> {
        let inner = replica.inner();
        if inner.views.latest().cluster().is_some() {
            return Ok(());
        }
        // An earlier leader's founding may be in the log, not yet applied here.
        replica.apply_own_log().await?;
        if inner.views.latest().cluster().is_some() {
            return Ok(());
        }
        let founding = inner.config.founding.clone();
        // Nodes that found a cluster together may run different versions of hostd.
        let members = replica.status(true).await;
        let all_can = |engine: &&EngineIdentity| {
            let mut members = members.iter().filter(|member| member.reachable);
            members.all(|member| member.honours.contains(engine))
        };
        let honours = replica.honours();
        let engine = honours.iter().rev().find(all_can).or(honours.first());
        let engine = engine.expect("an engine honours at least one").clone();
        tracing::info!(cluster = founding.cluster, "founding the cluster");
        let command = Command::Found {
            cluster: founding.cluster,
            engine,
            limits: founding.limits,
        };
        let mut proposed = inner.proposer.propose(command)?;
        drop(proposed.answer().await?);
        Ok(())
    }

    async fn checkpoint(replica: &Replica) -> Result<Duration, Refusal> {
        let inner = replica.inner();
        let policy = inner.config.checkpoint;
        // A small command can make a large change, and either must not grow without bounds.
        let overlay = inner.views.latest().overlay_bytes();
        let bytes = inner.bytes_since_checkpoint().max(overlay);
        let (age, dirty) = (
            inner.checkpoint_age(),
            inner.progress.dirty.load(Ordering::Relaxed),
        );
        if bytes >= policy.bytes || (dirty && age >= policy.interval) {
            make_checkpoint(replica).await?;
            return Ok(policy.interval);
        }
        Ok(if dirty {
            policy.interval.saturating_sub(age)
        } else {
            policy.interval
        })
    }

    async fn wake(replica: &Replica) -> Result<Duration, Refusal> {
        let inner = replica.inner();
        let Some(due) = inner.views.latest().next_timer() else {
            return Ok(LOOK);
        };
        let now: TimeNs = (inner.clock)();
        if due > now {
            return Ok(Duration::from_nanos(due - now));
        }
        let mut proposed = inner.proposer.propose(Command::Wake)?;
        drop(proposed.answer().await?);
        // There may be more than one wake fires.
        Ok(REST)
    }

    /// The next step of migrations, and of what is to be cleared away.
    async fn work(replica: &Replica) -> Result<Duration, Refusal> {
        let inner = replica.inner();
        if !inner.views.latest().has_work() {
            return Ok(LOOK);
        }
        let mut proposed = inner.proposer.propose(Command::Work)?;
        drop(proposed.answer().await?);
        Ok(REST)
    }
}

/// Logs a checkpoint and waits until it is applied here.
pub(crate) async fn make_checkpoint(replica: &Replica) -> Result<(), Refusal> {
    let inner = replica.inner();
    let previous = divergence::agreed(replica).await;
    let entry = Entry::Checkpoint {
        time: (inner.clock)(),
        previous,
    };
    inner.proposer.propose_entry(entry).await
}
