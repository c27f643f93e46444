//! A node whose disk is damaged is replaced, as docs/operations.md says: removed, and another one
//! joins under a new number.

use hostd_client::MemberChange;

use crate::world::World;

/// Between two attempts.
const AGAIN_MS: u64 = 1_000;

/// Replaces a node; tries until it works.
pub(crate) fn replace(world: &mut World, id: u64) {
    world.counters.add("nodes replaced", 1);
    let operator = world.operator.clone();
    operator.change(world, MemberChange::Remove(id), move |world, answer| {
        if answer.is_ok() {
            world.discard(id);
            world.add_joiner();
        } else {
            world.later(AGAIN_MS, move |world| replace(world, id));
        }
    });
}
