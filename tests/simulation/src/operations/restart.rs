//! Nodes are restarted with care.

use crate::chance::Chance;
use crate::faults::Fault;
use crate::world::World;

/// One node stops as asked, and comes back.
pub(crate) struct Graceful;

impl Fault for Graceful {
    fn name(&self) -> &'static str {
        "restart"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, _for_ms: u64) {
        let ids: Vec<u64> = world.nodes.keys().copied().collect();
        if let Some(id) = chance.pick(&ids)
            && let Some(node) = world.nodes.get_mut(id)
        {
            node.stop();
        }
    }
}

/// All nodes, one after the other.
pub(crate) struct Rolling;

impl Fault for Rolling {
    fn name(&self) -> &'static str {
        "rolling-restart"
    }

    fn begin(&self, world: &mut World, _chance: &mut Chance, for_ms: u64) {
        let ids: Vec<u64> = world.nodes.keys().copied().collect();
        let apart_ms = for_ms / ids.len().max(1) as u64;
        for (position, id) in ids.into_iter().enumerate() {
            world.later(apart_ms * position as u64, move |world| {
                if let Some(node) = world.nodes.get_mut(&id) {
                    node.stop();
                }
            });
        }
    }
}
