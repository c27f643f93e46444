//! A node computes something else than the others: at its next checkpoint one row, of whichever table,
//! is not what the log says. It must be found, that node alone quarantined, and `--recover` mends it.

use super::{Fault, somebody};
use crate::chance::Chance;
use crate::world::World;

/// Any node, often the leader. One at a time: the majority is right.
pub(crate) struct FlipValue;

impl Fault for FlipValue {
    fn name(&self) -> &'static str {
        "flip-value"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, _for_ms: u64) {
        if !world.may_damage() || world.changing {
            return;
        }
        let leader = chance.percent(50);
        let choice = chance.below(u64::MAX);
        if let Some(id) = somebody(world, chance, leader)
            && let Some(node) = world.nodes.get_mut(&id)
        {
            node.wrong_row = Some(choice);
            world
                .trace
                .say(&format!("node {id} will compute a wrong row"));
        }
    }
}
