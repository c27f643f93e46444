//! A member is removed, and its computer thrown away.

use hostd_client::MemberChange;

use crate::chance::Chance;
use crate::faults::Fault;
use crate::world::World;

/// Any member, as long as enough remain.
pub(crate) struct Remove;

impl Fault for Remove {
    fn name(&self) -> &'static str {
        "remove"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, _for_ms: u64) {
        if world.nodes.len() <= world.members_min || !world.may_damage() || world.changing {
            return;
        }
        let ids: Vec<u64> = world.nodes.keys().copied().collect();
        let Some(&id) = chance.pick(&ids) else { return };
        remove(world, id);
    }
}

/// Removes a member, and throws its computer away once it is no member any more.
pub(super) fn remove(world: &mut World, id: u64) {
    world.changing = true;
    let operator = world.operator.clone();
    operator.change(world, MemberChange::Remove(id), move |world, answer| {
        world.changing = false;
        if answer.is_ok() {
            world.discard(id);
        }
    });
}
