//! A node comes back with `--recover` after its disk has decayed or was lost: under its number, with
//! nothing, and it votes again once it is in sync. It is never known to the others as two nodes.

use crate::chance::Chance;
use crate::faults::{Fault, somebody};
use crate::node::{Death, LOG, STATE_FILE};
use crate::world::World;

/// Between two looks at whether it votes again.
const LOOK_MS: u64 = 200;

/// Any node, often the leader. One at a time: what a majority has lost nobody has.
pub(crate) struct Reseed;

impl Fault for Reseed {
    fn name(&self) -> &'static str {
        "reseed"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, for_ms: u64) {
        if !world.may_damage() || world.changing {
            return;
        }
        let leader = chance.percent(50);
        let Some(id) = somebody(world, chance, leader) else {
            return;
        };
        world.changing = true;
        world.switch_off(id, Death::Power);
        world.begin_recovery(id);
        match chance.below(3) {
            0 => damage(world, id, LOG),
            1 => damage(world, id, STATE_FILE),
            _ => world.set_aside(id),
        }
        world.counters.add("nodes reseeded", 1);
        world.later(for_ms, move |world| world.start(id));
        world.later(for_ms, move |world| watch(world, id));
    }
}

/// The node says itself that it cannot go on, unless nothing reads what has decayed.
fn damage(world: &mut World, id: u64, file: &str) {
    if world.nodes[&id].disk.damage(file) {
        world.trace.say(&format!("{file} of node {id} is damaged"));
    }
}

/// Waits until a node is back.
pub(crate) fn watch(world: &mut World, id: u64) {
    if world.end_recovery(id) {
        world.changing = false;
    } else {
        world.later(LOOK_MS, move |world| watch(world, id));
    }
}

/// A quarantined node is stopped and started again with `--recover`, as it says.
pub(crate) fn mend(world: &mut World, id: u64) {
    if !world.invariants.is_quarantined(id) || world.is_recovering(id) {
        return;
    }
    world.changing = true;
    world.counters.add("quarantined nodes reseeded", 1);
    world.switch_off(id, Death::Process);
    world.begin_recovery(id);
    world.start(id);
    watch(world, id);
}
