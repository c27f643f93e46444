//! The network loses, delays, reorders and doubles what it carries.

use super::{Fault, somebody};
use crate::chance::Chance;
use crate::net::{Link, node_address};
use crate::world::World;

/// Every link is different for a while.
fn usual_for(world: &mut World, link: Link, for_ms: u64) {
    world
        .trace
        .say(&format!("network for {for_ms} ms: {link:?}"));
    world.net.set_usual(link);
    world.later(for_ms, |world| world.net.set_usual(Link::default()));
}

/// Some of everything is lost.
pub(crate) struct Loss;

impl Fault for Loss {
    fn name(&self) -> &'static str {
        "loss"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, for_ms: u64) {
        let link = Link {
            loss_ppm: chance.within(5_000..=200_000) as u32,
            ..Link::default()
        };
        usual_for(world, link, for_ms);
    }
}

/// Everything takes long.
pub(crate) struct Delay;

impl Fault for Delay {
    fn name(&self) -> &'static str {
        "delay"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, for_ms: u64) {
        let delay = chance.within(5..=150);
        let link = Link {
            delay_min_ms: delay,
            delay_max_ms: delay + 2,
            ..Link::default()
        };
        usual_for(world, link, for_ms);
    }
}

/// Datagrams overtake each other.
pub(crate) struct Reorder;

impl Fault for Reorder {
    fn name(&self) -> &'static str {
        "reorder"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, for_ms: u64) {
        let link = Link {
            delay_min_ms: 1,
            delay_max_ms: chance.within(5..=100),
            ..Link::default()
        };
        usual_for(world, link, for_ms);
    }
}

/// Datagrams arrive twice.
pub(crate) struct Duplicate;

impl Fault for Duplicate {
    fn name(&self) -> &'static str {
        "duplicate"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, for_ms: u64) {
        let link = Link {
            delay_max_ms: chance.within(1..=50),
            duplicate_ppm: chance.within(10_000..=500_000) as u32,
            ..Link::default()
        };
        usual_for(world, link, for_ms);
    }
}

/// One node's links are bad, in one direction each.
pub(crate) struct Lossy;

impl Fault for Lossy {
    fn name(&self) -> &'static str {
        "lossy-node"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, for_ms: u64) {
        let Some(id) = somebody(world, chance, chance.clone().percent(50)) else {
            return;
        };
        let others: Vec<u64> = world
            .nodes
            .keys()
            .copied()
            .filter(|other| *other != id)
            .collect();
        for other in others {
            let (one, other) = (node_address(id).ip(), node_address(other).ip());
            let (from, to) = if chance.percent(50) {
                (one, other)
            } else {
                (other, one)
            };
            let (loss, delay) = (chance.within(0..=600_000) as u32, chance.within(1..=80));
            world.net.change(from, to, |link| {
                link.loss_ppm = loss;
                link.delay_max_ms = delay;
            });
            world.later(for_ms, move |world| {
                world.net.change(from, to, |link| {
                    link.loss_ppm = 0;
                    link.delay_max_ms = link.delay_min_ms;
                });
            });
        }
    }
}
