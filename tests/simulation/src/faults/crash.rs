//! Processes and computers die.

use super::{Fault, somebody};
use crate::chance::Chance;
use crate::node::Death;
use crate::world::World;

/// Effects on disk and network within which a doomed process dies: a few dozen milliseconds of work.
const DOOM_EFFECTS: u64 = 400;

/// The process of any node dies, between two of its tasks.
pub(crate) struct Process;

impl Fault for Process {
    fn name(&self) -> &'static str {
        "kill"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, for_ms: u64) {
        if let Some(id) = somebody(world, chance, false) {
            world.crash(id, Death::Process, for_ms);
        }
    }
}

/// A computer loses power.
pub(crate) struct Power;

impl Fault for Power {
    fn name(&self) -> &'static str {
        "power-loss"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, for_ms: u64) {
        if let Some(id) = somebody(world, chance, false) {
            world.crash(id, Death::Power, for_ms);
        }
    }
}

/// The leader's computer loses power.
pub(crate) struct Leader;

impl Fault for Leader {
    fn name(&self) -> &'static str {
        "power-loss-of-leader"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, for_ms: u64) {
        if let Some(id) = somebody(world, chance, true) {
            world.crash(id, Death::Power, for_ms);
        }
    }
}

/// All computers lose power at once, and come back one after the other.
pub(crate) struct Everybody;

impl Fault for Everybody {
    fn name(&self) -> &'static str {
        "power-loss-of-all"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, for_ms: u64) {
        let ids: Vec<u64> = world.nodes.keys().copied().collect();
        for id in ids {
            let off_ms = chance.within(10..=for_ms.max(11));
            world.crash(id, Death::Power, off_ms);
        }
    }
}

/// A process dies in the middle of something: at a write to disk, a sync, or a datagram.
pub(crate) struct Doom;

impl Fault for Doom {
    fn name(&self) -> &'static str {
        "die-at-effect"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, _for_ms: u64) {
        if let Some(id) = somebody(world, chance, chance.clone().percent(50)) {
            world.nodes[&id].doom(chance.below(DOOM_EFFECTS) as u32);
        }
    }
}

/// A process dies soon after it was started, while it recovers.
pub(crate) struct DoomAtStart;

impl Fault for DoomAtStart {
    fn name(&self) -> &'static str {
        "die-while-starting"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, for_ms: u64) {
        if let Some(id) = somebody(world, chance, false) {
            world.crash(id, Death::Power, for_ms);
            let effects = chance.below(DOOM_EFFECTS / 4) as u32;
            // After the start, which was put down first for the same moment.
            world.later(for_ms, move |world| {
                if let Some(node) = world.nodes.get(&id) {
                    node.doom(effects);
                }
            });
        }
    }
}
