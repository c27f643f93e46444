//! What a replica counts and how long things take it, for whoever watches it. To count takes no lock.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hostd_protocol::NodeId;
use openraft::async_runtime::WatchReceiver;

use crate::replica::Replica;

/// The upper bound of the first bucket; each further one is twice as large.
const FIRST_BOUND: Duration = Duration::from_micros(25);

/// Buckets with an upper bound: up to 13 s.
const BUCKETS: usize = 20;

/// How often a round trip to each peer is taken note of.
const ROUND_TRIP_LOOK: Duration = Duration::from_secs(1);

/// How many durations fell between which bounds.
#[derive(Debug, Default)]
pub struct Distribution {
    /// The last one has no upper bound.
    buckets: [AtomicU64; BUCKETS + 1],
    nanos: AtomicU64,
}

impl Distribution {
    /// Takes note of a duration.
    pub fn observe(&self, took: Duration) {
        let parts = took.as_nanos().div_ceil(FIRST_BOUND.as_nanos()).max(1);
        // The bucket is the logarithm, rounded up.
        let bucket = (u128::BITS - (parts - 1).leading_zeros()) as usize;
        self.buckets[bucket.min(BUCKETS)].fetch_add(1, Ordering::Relaxed);
        self.nanos
            .fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
    }

    /// Sum of all durations, in seconds.
    pub fn sum_seconds(&self) -> f64 {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed)).as_secs_f64()
    }

    /// The upper bound of each bucket in seconds, the last one infinite, with how many durations fell
    /// into it and into no earlier one.
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = (0..BUCKETS).map(|power| (FIRST_BOUND * (1 << power)).as_secs_f64());
        let counts = self
            .buckets
            .iter()
            .map(|count| count.load(Ordering::Relaxed));
        bounds.chain([f64::INFINITY]).zip(counts).collect()
    }
}

/// What a replica counts by itself.
#[derive(Debug, Default)]
pub struct Measures {
    /// Commits of the log: one transaction with its sync.
    pub log_commit: Distribution,
    /// Writes of a checkpoint to the state's file.
    pub checkpoint: Distribution,
    leader_changes: AtomicU64,
    proposals_failed: AtomicU64,
    round_trips: Mutex<BTreeMap<NodeId, Arc<Distribution>>>,
}

impl Measures {
    pub(crate) fn leader_changed(&self) {
        self.leader_changes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn proposals_failed(&self, count: usize) {
        self.proposals_failed
            .fetch_add(count as u64, Ordering::Relaxed);
    }

    /// How often this node saw another leader.
    pub fn leader_changes(&self) -> u64 {
        self.leader_changes.load(Ordering::Relaxed)
    }

    /// Commands whose proposal failed here, or was refused for want of room.
    pub fn failed(&self) -> u64 {
        self.proposals_failed.load(Ordering::Relaxed)
    }

    /// Round trips to each member that this node has a connection to.
    pub fn round_trips(&self) -> BTreeMap<NodeId, Arc<Distribution>> {
        self.peers().clone()
    }

    fn peers(&self) -> std::sync::MutexGuard<'_, BTreeMap<NodeId, Arc<Distribution>>> {
        self.round_trips
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Replica {
    /// What this replica has counted since it was opened.
    pub fn measures(&self) -> &Measures {
        &self.inner().measures
    }

    /// Log index of the last entry that is known to be committed.
    pub fn committed_index(&self) -> u64 {
        let data = self.inner().raft.data_metrics();
        let data = data.borrow_watched();
        data.cluster_committed
            .as_ref()
            .map_or(0, openraft::LogId::index)
    }

    /// Commands that wait to be proposed, or are under way.
    pub fn proposals_pending(&self) -> usize {
        self.inner().proposer.pending()
    }
}

/// Takes note of the round trips to peers for as long as the replica runs.
pub(crate) async fn watch(replica: Replica) {
    loop {
        tokio::time::sleep(ROUND_TRIP_LOOK).await;
        let round_trips = replica.inner().round_trips();
        let members = replica.nodes();
        let mut peers = replica.inner().measures.peers();
        peers.retain(|peer, _| members.contains_key(peer));
        for (peer, took) in round_trips {
            if members.contains_key(&peer) {
                peers.entry(peer).or_default().observe(took);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_the_bucket_below_whose_bound_they_are() {
        let observed = |nanos| {
            let distribution = Distribution::default();
            distribution.observe(Duration::from_nanos(nanos));
            let buckets = distribution.buckets();
            let found = buckets.iter().position(|(_, count)| *count == 1);
            (found.unwrap(), buckets)
        };
        for nanos in [
            0,
            1,
            25_000,
            25_001,
            50_000,
            50_001,
            1_000_000,
            13_000_000_000,
        ] {
            let (found, buckets) = observed(nanos);
            let seconds = nanos as f64 / 1e9;
            assert!(seconds <= buckets[found].0, "{nanos}");
            assert!(found == 0 || seconds > buckets[found - 1].0, "{nanos}");
        }
        let (found, buckets) = observed(3_600_000_000_000);
        assert_eq!((found, buckets[found].0), (BUCKETS, f64::INFINITY));
        assert_eq!(buckets.len(), BUCKETS + 1);
    }
}
