//! Room on the disk. A node that is about to run out takes no more writes from clients while there
//! is still room for what keeps the cluster going: elections, membership, and the checkpoints that
//! let the log be purged. As leader it hands over to a voter that has room, if there is one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hostd_protocol::{Failure, FailureCode, Health};
use tokio::time::Instant;

use crate::{membership, replica::Replica};

/// Room that clients must leave.
const RESERVE_BYTES: u64 = 64 << 20;
/// On a small disk, this part of it.
const RESERVE_PART: u64 = 10;
/// How often to look. What can be written in between is less than the reserve.
const LOOK: Duration = Duration::from_secs(1);
/// Between two attempts to hand leadership over, which somebody must accept.
const HAND_OVER: Duration = Duration::from_secs(5);

/// Room on the disk of log and state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes that can still be written.
    pub free_bytes: u64,
    /// Bytes that the disk has in all.
    pub total_bytes: u64,
}

impl Room {
    /// Whether clients must not take more. Once it was so, there must be a quarter more before it
    /// is not: a node at the edge would change its mind all the time.
    fn is_short(self, was_short: bool) -> bool {
        let reserve = RESERVE_BYTES.min(self.total_bytes / RESERVE_PART);
        let wanted = if was_short {
            reserve + reserve / 4
        } else {
            reserve
        };
        self.free_bytes < wanted
    }
}

/// Tells how much room there is; `None` when nobody knows.
pub type MeasureRoom = Arc<dyn Fn() -> Option<Room> + Send + Sync>;

/// Whether there is too little.
#[derive(Debug, Default)]
pub(crate) struct Shortage(AtomicBool);

impl Shortage {
    pub(crate) fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a client is told whose write there is no room for.
pub(crate) fn no_space(replica: &Replica) -> Failure {
    Failure::new(
        FailureCode::NoSpace,
        format!(
            "the disk of node {}, which leads, is almost full; nothing was started. Make room in the \
             file system of {}: writes go on by themselves",
            replica.id(),
            replica.inner().config.state_file.display()
        ),
    )
}

/// Looks at the disk for as long as the replica runs.
pub(crate) async fn watch(replica: Replica, measure: MeasureRoom) {
    let mut handed_over: Option<Instant> = None;
    loop {
        let shortage = &replica.inner().shortage.0;
        let was_short = shortage.load(Ordering::Relaxed);
        // What cannot be measured is not taken for full.
        let room = measure();
        let short = room.is_some_and(|room| room.is_short(was_short));
        if short != was_short {
            shortage.store(short, Ordering::Relaxed);
            let free_bytes = room.map_or(0, |room| room.free_bytes);
            if short {
                tracing::error!(
                    free_bytes,
                    "the disk is almost full; no more writes are taken from clients"
                );
            } else {
                tracing::info!(free_bytes, "there is room on the disk again; writes go on");
            }
        }
        let may = handed_over.is_none_or(|last| last.elapsed() >= HAND_OVER);
        if short && may && replica.is_leader() {
            handed_over = Some(Instant::now());
            hand_over(&replica).await;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// To a voter that says it is well.
async fn hand_over(replica: &Replica) {
    let own = replica.id();
    let statuses = replica.status(true).await;
    let well = |status: &&hostd_protocol::NodeStatus| {
        status.id != own && status.health == Health::Ok && replica.counts(status.id)
    };
    let Some(other) = statuses.iter().find(well) else {
        return;
    };
    let deadline = Instant::now() + HAND_OVER;
    if let Err(refusal) = membership::transfer(replica, Some(other.id), deadline).await {
        tracing::info!(reason = %refusal.failure, "leadership was not handed over");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserve_is_kept_and_left_only_with_some_to_spare() {
        let room = |free_bytes, total_bytes| Room {
            free_bytes,
            total_bytes,
        };
        let large = 1 << 40;
        assert!(!room(RESERVE_BYTES, large).is_short(false));
        assert!(room(RESERVE_BYTES - 1, large).is_short(false));
        assert!(room(RESERVE_BYTES, large).is_short(true));
        assert!(!room(RESERVE_BYTES * 5 / 4, large).is_short(true));
        let small = 100 << 20;
        assert!(!room(10 << 20, small).is_short(false));
        assert!(room((10 << 20) - 1, small).is_short(false));
    }
}
