//! Disks whose syncs take seconds.

use super::{Scene, scene};
use crate::node::Death;

/// A sync takes up to this long: far above what a call takes.
const SLOW_MS: u64 = 3_000;
/// A sync takes up to this long: longer than from one checkpoint to the next.
const STUCK_MS: u64 = 30_000;

impl Scene {
    fn slow_disk(&self, id: u64, longest_ms: u64) {
        let disk = &self.world.nodes[&id].disk;
        disk.change_faults(|faults| faults.sync_ms_max = longest_ms);
    }
}

#[test]
fn a_slow_disk_of_a_follower_is_waited_for_by_nobody() {
    scene(1, |scene| {
        let leader = scene.leader();
        let well = scene.pass(10_000);
        scene.slow_disk(scene.follower(), SLOW_MS);
        let slow = scene.pass(20_000);
        let (usual_ms, slowest_ms) = (scene.slowest_ms(&well), scene.slowest_ms(&slow));
        assert!(
            slowest_ms <= 2 * usual_ms,
            "{slowest_ms} ms instead of {usual_ms} ms"
        );
        assert_eq!(scene.leader(), leader);
    });
}

#[test]
fn a_leader_with_a_slow_disk_hands_over_and_nobody_waits_for_it() {
    for longest_ms in [SLOW_MS, STUCK_MS] {
        scene(2, move |scene| {
            let leader = scene.leader();
            let well = scene.pass(10_000);
            scene.slow_disk(leader, longest_ms);
            let handing_over = scene.pass(20_000);
            assert_ne!(scene.leader(), leader);
            // They wait for the change of leaders, and not for a sync.
            let slowest_ms = scene.slowest_ms(&handing_over);
            assert!(slowest_ms <= SLOW_MS / 3, "{slowest_ms} ms");
            let slow = scene.pass(20_000);
            let (usual_ms, slowest_ms) = (scene.slowest_ms(&well), scene.slowest_ms(&slow));
            assert!(
                slowest_ms <= 2 * usual_ms,
                "{slowest_ms} ms instead of {usual_ms} ms"
            );
            assert_ne!(scene.leader(), leader);
        });
    }
}

/// The other tests would see it if somebody waited.
#[test]
fn a_slow_disk_is_waited_for_where_a_majority_needs_it() {
    scene(3, |scene| {
        scene.slow_disk(scene.leader(), SLOW_MS);
        let follower = scene.follower();
        scene.world.switch_off(follower, Death::Process);
        scene.pass(2_000);
        let slow = scene.pass(30_000);
        let slowest_ms = scene.slowest_ms(&slow);
        assert!(slowest_ms >= SLOW_MS / 2, "{slowest_ms} ms");
    });
}
