//! Leadership is handed over.

use hostd_client::MemberChange;

use crate::chance::Chance;
use crate::faults::Fault;
use crate::world::World;

/// To a node of choice, or to whom the leader chooses.
pub(crate) struct Transfer;

impl Fault for Transfer {
    fn name(&self) -> &'static str {
        "transfer"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, _for_ms: u64) {
        let ids: Vec<u64> = world.nodes.keys().copied().collect();
        let to = chance
            .pick(&ids)
            .copied()
            .filter(|_| chance.clone().percent(50));
        let operator = world.operator.clone();
        operator.change(world, MemberChange::Transfer(to), |_, _| {});
    }
}
