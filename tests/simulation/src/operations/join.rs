//! A new node joins: first it learns, then it votes.

use crate::chance::Chance;
use crate::faults::Fault;
use crate::world::World;

/// More nodes than this are not useful.
const MEMBERS_MAX: usize = 6;

/// A node with an empty disk and a new number.
pub(crate) struct Join;

impl Fault for Join {
    fn name(&self) -> &'static str {
        "join"
    }

    fn begin(&self, world: &mut World, _chance: &mut Chance, _for_ms: u64) {
        if world.nodes.len() < MEMBERS_MAX {
            world.add_joiner();
        }
    }
}
