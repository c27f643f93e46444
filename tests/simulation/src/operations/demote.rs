//! A voter becomes a learner and a voter again.

use hostd_client::MemberChange;

use crate::chance::Chance;
use crate::faults::Fault;
use crate::world::World;

/// Between two attempts to promote: a learner must be in sync.
const AGAIN_MS: u64 = 1_000;

/// Any member, as long as enough voters remain.
pub(crate) struct Demote;

impl Fault for Demote {
    fn name(&self) -> &'static str {
        "demote-and-promote"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, for_ms: u64) {
        if world.nodes.len() <= world.members_min || !world.may_damage() || world.changing {
            return;
        }
        let ids: Vec<u64> = world.nodes.keys().copied().collect();
        let Some(&id) = chance.pick(&ids) else { return };
        world.changing = true;
        let operator = world.operator.clone();
        operator.change(world, MemberChange::Demote(id), move |world, _| {
            world.later(for_ms, move |world| promote(world, id));
        });
    }
}

fn promote(world: &mut World, id: u64) {
    let operator = world.operator.clone();
    operator.change(world, MemberChange::Promote(id), move |world, answer| {
        if answer.is_ok() {
            world.changing = false;
        } else {
            world.later(AGAIN_MS, move |world| promote(world, id));
        }
    });
}
