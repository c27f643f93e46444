//! Wall clocks are set, and run too fast or too slow.

use super::{Fault, somebody};
use crate::chance::Chance;
use crate::world::World;

fn shift(world: &mut World, chance: &mut Chance, sign: i64) {
    let Some(id) = somebody(world, chance, true) else {
        return;
    };
    let longest = if chance.percent(30) { 3_600_000 } else { 5_000 };
    let by_ms = sign * chance.within(10..=longest) as i64;
    world
        .trace
        .say(&format!("the clock of node {id} is set by {by_ms} ms"));
    world.note_clock_jump(by_ms);
    world.nodes[&id].clock.shift_ms(by_ms);
}

fn speed(world: &mut World, id: Option<u64>, ppm: u64, for_ms: u64) {
    let Some(id) = id else { return };
    if let Some(node) = world.nodes.get_mut(&id) {
        world
            .trace
            .say(&format!("the clocks of node {id} run at {ppm} ppm"));
        node.speed_ppm = ppm;
    }
    world.later(for_ms, move |world| {
        if let Some(node) = world.nodes.get_mut(&id) {
            node.speed_ppm = 1_000_000;
        }
    });
}

/// Set forward.
pub(crate) struct Forward;

impl Fault for Forward {
    fn name(&self) -> &'static str {
        "clock-forward"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, _for_ms: u64) {
        shift(world, chance, 1);
    }
}

/// Set back.
pub(crate) struct Back;

impl Fault for Back {
    fn name(&self) -> &'static str {
        "clock-back"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, _for_ms: u64) {
        shift(world, chance, -1);
    }
}

/// All clocks of a node run too fast.
pub(crate) struct Fast;

impl Fault for Fast {
    fn name(&self) -> &'static str {
        "clock-fast"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, for_ms: u64) {
        let id = somebody(world, chance, false);
        speed(world, id, chance.within(1_000_100..=1_500_000), for_ms);
    }
}

/// All clocks of a node run too slow.
pub(crate) struct Slow;

impl Fault for Slow {
    fn name(&self) -> &'static str {
        "clock-slow"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, for_ms: u64) {
        let id = somebody(world, chance, false);
        speed(world, id, chance.within(600_000..=999_900), for_ms);
    }
}
