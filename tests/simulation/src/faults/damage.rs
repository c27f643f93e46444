//! A file of a stopped node decays. The node must not serve from it; an operator replaces the node.

use super::{Fault, somebody};
use crate::chance::Chance;
use crate::node::{Death, LOG, STATE_FILE};
use crate::world::World;

fn damage(world: &mut World, chance: &mut Chance, for_ms: u64, file: &'static str) {
    if !world.may_damage() {
        return;
    }
    let Some(id) = somebody(world, chance, false) else {
        return;
    };
    world.crash(id, Death::Power, for_ms);
    if world.nodes[&id].disk.damage(file) {
        world.trace.say(&format!("{file} of node {id} is damaged"));
        world.note_damage(id, file);
    }
}

/// The log.
pub(crate) struct Log;

impl Fault for Log {
    fn name(&self) -> &'static str {
        "damaged-log"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, for_ms: u64) {
        damage(world, chance, for_ms, LOG);
    }
}

/// The state.
pub(crate) struct State;

impl Fault for State {
    fn name(&self) -> &'static str {
        "damaged-state"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, for_ms: u64) {
        damage(world, chance, for_ms, STATE_FILE);
    }
}
