//! Disks are slow, fail, fill up, and give what was not written.

use super::{Fault, somebody};
use crate::chance::Chance;
use crate::disk::DiskFaults;
use crate::world::World;

/// A disk misbehaves for a while.
fn faulty_for(
    world: &mut World,
    id: u64,
    for_ms: u64,
    begin: impl FnOnce(&mut DiskFaults),
    end: impl FnOnce(&mut DiskFaults) + 'static,
) {
    if let Some(node) = world.nodes.get(&id) {
        node.disk.change_faults(begin);
        world.trace.say(&format!(
            "the disk of node {id} for {for_ms} ms: {:?}",
            node.disk.faults()
        ));
    }
    world.later(for_ms, move |world| {
        if let Some(node) = world.nodes.get(&id) {
            node.disk.change_faults(end);
        }
    });
}

fn slow(world: &mut World, id: Option<u64>, longest_ms: u64, for_ms: u64) {
    if let Some(id) = id {
        faulty_for(
            world,
            id,
            for_ms,
            |faults| faults.sync_ms_max = longest_ms,
            |faults| faults.sync_ms_max = 0,
        );
    }
}

/// Syncs of any node take long.
pub(crate) struct SlowSync;

impl Fault for SlowSync {
    fn name(&self) -> &'static str {
        "slow-sync"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, for_ms: u64) {
        let id = somebody(world, chance, false);
        slow(world, id, chance.within(2..=200), for_ms);
    }
}

/// Syncs of the leader take long.
pub(crate) struct SlowLeader;

impl Fault for SlowLeader {
    fn name(&self) -> &'static str {
        "slow-sync-of-leader"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, for_ms: u64) {
        let id = somebody(world, chance, true);
        slow(world, id, chance.within(20..=500), for_ms);
    }
}

/// Syncs of all nodes take long.
pub(crate) struct SlowEverywhere;

impl Fault for SlowEverywhere {
    fn name(&self) -> &'static str {
        "slow-sync-everywhere"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, for_ms: u64) {
        let longest_ms = chance.within(20..=300);
        let ids: Vec<u64> = world.nodes.keys().copied().collect();
        for id in ids {
            slow(world, Some(id), longest_ms, for_ms);
        }
    }
}

/// Syncs take seconds.
pub(crate) struct StuckSync;

impl Fault for StuckSync {
    fn name(&self) -> &'static str {
        "stuck-sync"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, for_ms: u64) {
        let id = somebody(world, chance, chance.clone().percent(50));
        slow(world, id, chance.within(1_000..=5_000), for_ms);
    }
}

/// Some syncs fail.
pub(crate) struct SyncError;

impl Fault for SyncError {
    fn name(&self) -> &'static str {
        "sync-error"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, for_ms: u64) {
        let ppm = chance.within(1_000..=100_000) as u32;
        if let Some(id) = somebody(world, chance, false) {
            faulty_for(
                world,
                id,
                for_ms,
                |faults| faults.sync_error_ppm = ppm,
                |faults| faults.sync_error_ppm = 0,
            );
        }
    }
}

/// Some writes fail.
pub(crate) struct WriteError;

impl Fault for WriteError {
    fn name(&self) -> &'static str {
        "write-error"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, for_ms: u64) {
        let ppm = chance.within(100..=20_000) as u32;
        if let Some(id) = somebody(world, chance, false) {
            faulty_for(
                world,
                id,
                for_ms,
                |faults| faults.write_error_ppm = ppm,
                |faults| faults.write_error_ppm = 0,
            );
        }
    }
}

/// There is no more room.
pub(crate) struct Full;

impl Fault for Full {
    fn name(&self) -> &'static str {
        "disk-full"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, for_ms: u64) {
        let Some(id) = somebody(world, chance, chance.clone().percent(50)) else {
            return;
        };
        let used = world.nodes[&id].disk.used_bytes();
        let left = chance.below(64 << 10);
        faulty_for(
            world,
            id,
            for_ms,
            |faults| faults.capacity_bytes = used + left,
            |faults| faults.capacity_bytes = 0,
        );
    }
}

/// Reads give flipped bits, while the disk itself is right.
pub(crate) struct FlippedReads;

impl Fault for FlippedReads {
    fn name(&self) -> &'static str {
        "flipped-reads"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, for_ms: u64) {
        // redb repairs what it believes to be damaged, so a wrong read can do lasting damage.
        if !world.may_damage() {
            return;
        }
        let ppm = chance.within(10_000..=500_000) as u32;
        if let Some(id) = somebody(world, chance, false) {
            world.note_damage(id, "a file");
            faulty_for(
                world,
                id,
                for_ms,
                |faults| faults.flip_ppm = ppm,
                |faults| faults.flip_ppm = 0,
            );
        }
    }
}
