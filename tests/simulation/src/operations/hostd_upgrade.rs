//! hostd itself is upgraded, node by node: old and new run together, and the cluster goes over to the
//! new one's rules when all have them.

use crate::chance::Chance;
use crate::faults::Fault;
use crate::node::Death;
use crate::plan::Plan;
use crate::world::World;

/// One node or all that still have the old hostd, one after the other.
pub(crate) struct HostdUpgrade;

impl Fault for HostdUpgrade {
    fn name(&self) -> &'static str {
        "hostd-upgrade"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, for_ms: u64) {
        let mut old: Vec<u64> = world
            .nodes
            .values()
            .filter(|node| node.older)
            .map(|node| node.id)
            .collect();
        if chance.percent(60) {
            old = chance.pick(&old).copied().into_iter().collect();
        }
        let apart_ms = for_ms / old.len().max(1) as u64;
        for (position, id) in old.into_iter().enumerate() {
            let gently = chance.percent(50);
            world.later(apart_ms * position as u64, move |world| {
                upgrade(world, id, gently);
            });
        }
    }
}

/// Whether the cluster begins with the old hostd: where it is to be upgraded.
pub(crate) fn begins_old(plan: &Plan) -> bool {
    let mut events = plan.events.iter();
    events.any(|event| event.what == HostdUpgrade.name())
}

/// What runs goes on as it was until it ends; what starts then is the new one.
fn upgrade(world: &mut World, id: u64, gently: bool) {
    let Some(node) = world.nodes.get_mut(&id) else {
        return;
    };
    node.older = false;
    world.counters.add("nodes upgraded", 1);
    if gently {
        node.stop();
    } else {
        world.crash(id, Death::Process, 0);
    }
}
