//! Checkpoints, as Raft is to see them: once one is durable, Raft may forget the log before it.

use std::time::Duration;

use hostd_machine::Rehearsals;
use hostd_planted::{self as planted, Bug};
use openraft::async_runtime::WatchReceiver;

use crate::{log_store::LogStore, replica::Raft};

/// How long Raft may take to notice a checkpoint before it is told again.
const NOTICE_TIMEOUT: Duration = Duration::from_secs(1);

/// Tells Raft of every durable checkpoint. Ends when Raft or the machine stops.
pub(crate) async fn follow(
    raft: Raft,
    log: LogStore,
    rehearsals: Rehearsals,
    mut durable: tokio::sync::watch::Receiver<hostd_machine::Durable>,
) {
    loop {
        let mut position = durable.borrow_and_update().position;
        if planted::active(Bug::PurgeTooFar)
            && let Some(position) = &mut position
        {
            position.index = raft
                .data_metrics()
                .borrow_watched()
                .last_applied
                .as_ref()
                .map_or(0, openraft::LogId::index);
        }
        if let Some(position) = position {
            if tell(&raft, position.index).await.is_none() {
                return;
            }
            if let Some(upto) = log.purgeable(position.index)
                && raft.trigger().purge_log(upto).await.is_err()
            {
                return;
            }
            if let Some(first) = log.reader().first() {
                rehearsals.forget_before(first);
            }
        }
        if durable.changed().await.is_err() {
            return;
        }
    }
}

/// Returns `None` when Raft has stopped.
async fn tell(raft: &Raft, index: u64) -> Option<()> {
    let mut metrics = raft.data_metrics();
    loop {
        // Raft drops the request while it is at another one.
        raft.trigger().snapshot().await.ok()?;
        let noticed = async {
            while metrics
                .borrow_watched()
                .snapshot
                .as_ref()
                .is_none_or(|last| last.index() < index)
            {
                metrics.changed().await.ok()?;
            }
            Some(())
        };
        if let Ok(noticed) = tokio::time::timeout(NOTICE_TIMEOUT, noticed).await {
            return noticed;
        }
    }
}
