//! Processes stand still, as under SIGSTOP, a virtual machine that moves, or a long page fault.

use super::{Fault, somebody};
use crate::chance::Chance;
use crate::world::World;

fn pause(world: &mut World, id: u64, for_ms: u64) {
    if let Some(node) = world.nodes.get_mut(&id) {
        world
            .trace
            .say(&format!("node {id} stands still for {for_ms} ms"));
        node.pause(true);
    }
    world.later(for_ms, move |world| {
        if let Some(node) = world.nodes.get_mut(&id) {
            node.pause(false);
        }
    });
}

/// Any node.
pub(crate) struct Any;

impl Fault for Any {
    fn name(&self) -> &'static str {
        "pause"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, for_ms: u64) {
        if let Some(id) = somebody(world, chance, false) {
            pause(world, id, for_ms);
        }
    }
}

/// The leader.
pub(crate) struct Leader;

impl Fault for Leader {
    fn name(&self) -> &'static str {
        "pause-leader"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, for_ms: u64) {
        if let Some(id) = somebody(world, chance, true) {
            pause(world, id, for_ms);
        }
    }
}

/// A node again and again, for about as long as an election takes.
pub(crate) struct Blink;

impl Fault for Blink {
    fn name(&self) -> &'static str {
        "pause-repeatedly"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, for_ms: u64) {
        let Some(id) = somebody(world, chance, true) else {
            return;
        };
        let mut at_ms = 0;
        while at_ms < for_ms {
            let length_ms = chance.within(100..=800);
            world.later(at_ms, move |world| pause(world, id, length_ms));
            at_ms += length_ms + chance.within(50..=500);
        }
    }
}
