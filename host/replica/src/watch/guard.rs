//! A node that is cut off applies nothing, and its watchers would wait in vain while others could tell
//! them: it sends them away.

use std::time::Duration;

use hostd_protocol::{Failure, FailureCode};
use tokio::time::sleep;

use crate::replica::Replica;

/// Between two looks at whether there is a leader.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Looks in a row without one, after which watchers are sent away: longer than an election.
const LOOKS: u32 = 5;

/// Watches over the watchers, for as long as the replica runs.
pub(crate) async fn guard(replica: Replica) {
    let mut without = 0;
    loop {
        sleep(LOOK_EVERY).await;
        if replica.is_in_touch() {
            without = 0;
            continue;
        }
        without += 1;
        if without == LOOKS {
            replica.cut_watchers(cut_off());
        }
    }
}

/// What a watcher is told by a node without a leader.
pub(crate) fn cut_off() -> Failure {
    Failure::new(
        FailureCode::NoLeader,
        "this node is cut off from the leader; watch another",
    )
}
