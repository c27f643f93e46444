//! States that differ: finding out whose is the wrong one, and what that node does then.
//!
//! A checkpoint entry carries the digest of the checkpoint before it, but only once a majority of
//! the voters has reported the same one. Whoever then finds another digest in its own state is in
//! the minority. A leader that finds a majority agreeing on another digest than its own is in the
//! minority itself. Either way that node quarantines itself: it serves no reads, does not lead,
//! and stays so over restarts until a snapshot replaces its state.

use std::{collections::HashMap, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use hostd_protocol::{entry::CheckpointDigest, hex};
use tokio::time::Instant;

use crate::{
    log_store::Fact,
    membership,
    network::{Ask, Destination, Tell},
    replica::Replica,
};

/// How long a checkpoint is held up for the voters' reports on the one before.
const REPORT_TIMEOUT: Duration = Duration::from_millis(250);
/// How long a node in the minority tries to hand leadership over at a time.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(5);

/// What the voters' digests of one checkpoint say.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// A majority has this node's digest.
    Agreed,
    /// A majority has another one.
    InMinority,
    /// Too few have reported yet, or nobody has a majority.
    Unknown,
}

/// Counts the voters' reports, this leader's among them.
fn judge<'a>(own: &str, others: impl Iterator<Item = &'a str>, voters: usize) -> Verdict {
    let mut counts: HashMap<&str, usize> = HashMap::from([(own, 1)]);
    for digest in others {
        *counts.entry(digest).or_default() += 1;
    }
    let majority = voters / 2 + 1;
    if counts[own] >= majority {
        Verdict::Agreed
    } else if counts.values().any(|count| *count >= majority) {
        Verdict::InMinority
    } else {
        Verdict::Unknown
    }
}

/// The digest of this leader's last checkpoint, if a majority of the voters has the same.
pub(crate) async fn agreed(replica: &Replica) -> Option<CheckpointDigest> {
    let inner = replica.inner();
    let applied = *inner.progress.checkpoint.borrow();
    let mut durable = inner.progress.durable.clone();
    let durable = durable
        .wait_for(|durable| durable.position.map_or(0, |position| position.index) >= applied)
        .await
        .ok()?
        .clone();
    let index = durable.position?.index;
    let own = hex(&durable.digest);

    let voters = replica.voters();
    let mut reports: FuturesUnordered<_> = replica
        .nodes()
        .into_iter()
        .filter(|(id, _)| *id != replica.id() && voters.contains(id))
        .map(|(id, node)| {
            let asked = Destination::Member(id, node);
            replica.ask(asked, Ask::Status, REPORT_TIMEOUT)
        })
        .collect();
    let mut digests: Vec<String> = Vec::new();
    let judge_all = |digests: &[String]| {
        let others = digests.iter().map(String::as_str);
        judge(&own, others, voters.len())
    };
    let mut verdict = judge_all(&digests);
    while verdict == Verdict::Unknown
        && let Some(report) = reports.next().await
    {
        if let Ok(Tell::Status(status)) = report
            && status.checkpoint == index
        {
            digests.push(status.digest);
            verdict = judge_all(&digests);
        }
    }
    match verdict {
        Verdict::Agreed => Some(CheckpointDigest {
            index,
            digest: durable.digest,
        }),
        Verdict::InMinority => {
            tracing::error!(
                index,
                "a majority has another state than this leader at the last checkpoint"
            );
            inner.quarantine().await;
            None
        }
        Verdict::Unknown => {
            if digests.iter().any(|digest| *digest != own) {
                tracing::error!(index, "the voters' states differ, and none has a majority");
            }
            None
        }
    }
}

/// Keeps a node whose state is wrong from leading, and remembers that it is. Runs until the
/// replica stops.
pub(crate) async fn watch(replica: Replica) {
    let inner = replica.inner();
    let mut diverged = inner.progress.diverged.clone();
    loop {
        let wrong = *diverged.borrow_and_update();
        inner.raft.runtime_config().elect(!wrong);
        if let Err(error) = inner.log.note(Fact::Quarantined, wrong).await {
            tracing::error!(%error, "the quarantine is not remembered");
        }
        let changed = if wrong && replica.is_leader() {
            let deadline = Instant::now() + HAND_OVER_TIMEOUT;
            if let Err(refusal) = membership::transfer(&replica, None, deadline).await {
                tracing::warn!(reason = %refusal.failure, "a quarantined leader was not relieved");
            }
            tokio::time::timeout(REPORT_TIMEOUT, diverged.changed())
                .await
                .unwrap_or(Ok(()))
        } else {
            diverged.changed().await
        };
        if changed.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_majority_is_right() {
        let judge = |others: &[&str], voters| judge("own", others.iter().copied(), voters);
        assert_eq!(judge(&[], 1), Verdict::Agreed);
        assert_eq!(judge(&["own"], 3), Verdict::Agreed);
        assert_eq!(judge(&["own", "other"], 3), Verdict::Agreed);
        assert_eq!(judge(&["other", "other"], 3), Verdict::InMinority);
        assert_eq!(judge(&["other"], 3), Verdict::Unknown);
        assert_eq!(judge(&["other"], 2), Verdict::Unknown);
        assert_eq!(judge(&["one", "another"], 3), Verdict::Unknown);
        assert_eq!(judge(&["other", "other", "other"], 5), Verdict::InMinority);
    }
}
