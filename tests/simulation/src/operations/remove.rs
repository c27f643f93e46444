//! A member is removed, and its computer thrown away.

use hostd_client::{CallError, MemberChange};
use hostd_protocol::FailureCode;

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

/// Between two attempts.
const AGAIN_MS: u64 = 1_000;

/// Removes a member, and throws its computer away once it is no member any more. Where it is unknown
/// whether that was done, it is asked for again: a node that was removed is of no more use.
pub(crate) fn remove(world: &mut World, id: u64) {
    world.changing = true;
    let operator = world.operator.clone();
    operator.change(world, MemberChange::Remove(id), move |world, answer| {
        let refused = |error: &CallError| {
            matches!(error, CallError::Failed(failure) if failure.code == FailureCode::InvalidArgument)
        };
        world.changing = false;
        world.leaving.remove(&id);
        match answer {
            Ok(()) => world.discard(id),
            Err(error) if refused(&error) => {}
            Err(_) => {
                world.changing = true;
                world.leaving.insert(id);
                world.later(AGAIN_MS, move |world| remove(world, id));
            }
        }
    });
}
