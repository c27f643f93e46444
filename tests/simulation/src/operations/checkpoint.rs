//! A checkpoint is asked for, of whichever node: one that does not lead passes it on.

use crate::chance::Chance;
use crate::faults::Fault;
use crate::world::World;

/// Of any node that is ready, in the middle of whatever goes on.
pub(crate) struct Checkpoint;

impl Fault for Checkpoint {
    fn name(&self) -> &'static str {
        "checkpoint"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, _for_ms: u64) {
        let ready = world.nodes.values().filter(|node| node.is_ready());
        let ids: Vec<u64> = ready.map(|node| node.id).collect();
        if let Some(id) = chance.pick(&ids) {
            ask(world, *id);
        }
    }
}

/// Asks one node.
pub(super) fn ask(world: &World, id: u64) {
    if let Some(node) = world.nodes.get(&id) {
        world
            .trace
            .say(&format!("node {id} is asked for a checkpoint"));
        node.checkpoint(&world.trace, &world.counters);
    }
}
