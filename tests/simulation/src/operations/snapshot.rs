//! A node is away until the others no longer have the log that it lacks, so that it must be sent a
//! snapshot when it comes back.

use super::checkpoint;
use crate::chance::Chance;
use crate::faults::Fault;
use crate::node::Death;
use crate::world::World;

/// Between two checkpoints that the others are asked for.
const AGAIN_MS: u64 = 500;
/// A node that is away for longer comes back with whatever it lacks: clients may write too little.
const AWAY_MAX_MS: u64 = 15_000;

/// Any node that is on, as long as a majority remains.
pub(crate) struct Snapshot;

impl Fault for Snapshot {
    fn name(&self) -> &'static str {
        "snapshot"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, _for_ms: u64) {
        let on = world.nodes.values().filter(|node| node.is_on());
        let ids: Vec<u64> = on.map(|node| node.id).collect();
        let rest = ids.len().saturating_sub(1);
        if 2 * rest <= world.nodes.len() {
            return;
        }
        let Some(&id) = chance.pick(&ids) else { return };
        let death = if chance.percent(50) {
            Death::Power
        } else {
            Death::Process
        };
        world.switch_off(id, death);
        keep_away(world, id, world.now_ms() + AWAY_MAX_MS);
    }
}

/// Has the others make checkpoints, and looks again, until they have purged what `id` lacks.
fn keep_away(world: &mut World, id: u64, until_ms: u64) {
    if needs_snapshot(world, id) || world.now_ms() >= until_ms {
        world.start(id);
        return;
    }
    let mut others = world.nodes.values().filter(|node| node.is_ready());
    if let Some(other) = others.next().map(|node| node.id) {
        checkpoint::ask(world, other);
    }
    world.later(AGAIN_MS, move |world| keep_away(world, id, until_ms));
}

/// Whether nobody else has the entry after the last that `id` has.
fn needs_snapshot(world: &World, id: u64) -> bool {
    let last = world.invariants.last_log(id);
    let mut others = world.nodes.keys().filter(|other| **other != id);
    others.all(|other| world.invariants.purged(*other) > last)
}
