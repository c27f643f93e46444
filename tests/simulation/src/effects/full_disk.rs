//! Disks that are nearly full.

use hostd_client::{CallError, FailureCode};
use redb::StorageBackend as _;

use super::{Scene, Seen, scene};
use crate::process::Process;

/// What others than hostd have on the disk.
const OTHERS_BYTES: u64 = 40 << 20;
/// What is left: less than the tenth that hostd keeps in reserve, and more than it needs to go on.
const LEFT_BYTES: u64 = 3 << 20;
/// Time to look at the disk, which a node does every second, and to hand over.
const NOTICE_MS: u64 = 3_000;

impl Scene {
    fn fill_disk(&self, id: u64) {
        let disk = &self.world.nodes[&id].disk;
        let others = disk.open("of others", &Process::new());
        others.set_len(OTHERS_BYTES).unwrap();
        let used = disk.used_bytes();
        disk.change_faults(|faults| faults.capacity_bytes = used + LEFT_BYTES);
    }

    fn make_room(&self, id: u64) {
        let disk = &self.world.nodes[&id].disk;
        disk.change_faults(|faults| faults.capacity_bytes = 0);
    }
}

/// The node that refused a call for want of room, as it says.
fn no_space(seen: &Seen) -> Option<&str> {
    match &seen.answer {
        Err(CallError::Failed(failure)) if failure.code == FailureCode::NoSpace => {
            Some(&failure.message)
        }
        _ => None,
    }
}

#[test]
fn a_leader_whose_disk_is_nearly_full_hands_over_and_writes_go_on() {
    scene(5, |scene| {
        let first = scene.leader();
        scene.fill_disk(first);
        let handing_over = scene.pass(NOTICE_MS);
        assert_ne!(scene.leader(), first, "leadership was not handed over");
        let full = format!("the disk of node {first},");
        for seen in scene.during(&handing_over) {
            let by_the_full_one = no_space(&seen).is_some_and(|said| said.contains(&full));
            assert!(seen.answer.is_ok() || by_the_full_one, "{seen:?}");
        }
        // The others take everything; and what is logged meanwhile fits into the reserve.
        let after = scene.pass(15_000);
        let slowest_ms = scene.slowest_ms(&after);
        assert!(slowest_ms < 100, "{slowest_ms} ms");
        assert!(scene.world.all_ready(), "{}", scene.world.unwell());
    });
}

#[test]
fn where_nobody_has_room_reads_go_on_and_writes_wait_for_it() {
    scene(6, |scene| {
        for id in [1, 2, 3] {
            scene.fill_disk(id);
        }
        scene.pass(NOTICE_MS);
        let full = scene.pass(5_000);
        let seen = scene.during(&full);
        let reads = seen.iter().filter(|seen| seen.answer.is_ok()).count();
        let writes = seen.iter().filter(|seen| no_space(seen).is_some()).count();
        assert_eq!(reads + writes, seen.len(), "some calls failed otherwise");
        assert!(
            reads > 100 && writes > 100,
            "{reads} reads, {writes} writes"
        );
        for id in [1, 2, 3] {
            scene.make_room(id);
        }
        scene.pass(NOTICE_MS);
        let after = scene.pass(5_000);
        // That all were answered is looked at as well.
        let slowest_ms = scene.slowest_ms(&after);
        assert!(slowest_ms < 100, "{slowest_ms} ms");
    });
}
