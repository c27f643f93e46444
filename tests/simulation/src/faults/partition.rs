//! Some cannot talk to others.

use std::net::IpAddr;

use super::{Fault, somebody};
use crate::chance::Chance;
use crate::net::{client_address, node_address};
use crate::world::{CLIENTS, World};

pub(crate) fn host(id: u64) -> IpAddr {
    node_address(id).ip()
}

fn clients() -> impl Iterator<Item = IpAddr> {
    (1..=CLIENTS).map(|number| client_address(number).ip())
}

/// Cuts the ways from some to others, in this direction, or opens them again.
fn set(world: &mut World, from: &[IpAddr], to: &[IpAddr], cut: bool) {
    for &from in from {
        for &to in to {
            if from != to {
                world.net.change(from, to, |link| link.cut = cut);
            }
        }
    }
}

fn both(world: &mut World, one: &[IpAddr], other: &[IpAddr], cut: bool) {
    set(world, one, other, cut);
    set(world, other, one, cut);
}

/// Cuts in both directions for a while.
pub(crate) fn cut_for(world: &mut World, one: Vec<IpAddr>, other: Vec<IpAddr>, for_ms: u64) {
    world
        .trace
        .say(&format!("cut for {for_ms} ms: {one:?} from {other:?}"));
    both(world, &one, &other, true);
    world.later(for_ms, move |world| both(world, &one, &other, false));
}

fn everybody(world: &World) -> Vec<IpAddr> {
    world.nodes.keys().map(|id| host(*id)).collect()
}

/// A node sees no other node; clients may still see it.
pub(crate) struct Isolate;

impl Fault for Isolate {
    fn name(&self) -> &'static str {
        "isolate"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, for_ms: u64) {
        if let Some(id) = somebody(world, chance, false) {
            let mut others = everybody(world);
            if chance.percent(50) {
                others.extend(clients());
            }
            cut_for(world, vec![host(id)], others, for_ms);
        }
    }
}

/// The leader sees no other node, but clients still see it.
pub(crate) struct IsolateLeader;

impl Fault for IsolateLeader {
    fn name(&self) -> &'static str {
        "isolate-leader"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, for_ms: u64) {
        if let Some(id) = somebody(world, chance, true) {
            let others = everybody(world);
            cut_for(world, vec![host(id)], others, for_ms);
        }
    }
}

/// Two halves; some clients with each.
pub(crate) struct Split;

impl Fault for Split {
    fn name(&self) -> &'static str {
        "split"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, for_ms: u64) {
        let all = everybody(world).into_iter().chain(clients());
        let (one, other) = all.partition(|_| chance.percent(50));
        cut_for(world, one, other, for_ms);
    }
}

/// A node hears nobody, but is heard.
pub(crate) struct OneWayIn;

impl Fault for OneWayIn {
    fn name(&self) -> &'static str {
        "one-way-deaf"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, for_ms: u64) {
        if let Some(id) = somebody(world, chance, chance.clone().percent(50)) {
            let others = everybody(world);
            set(world, &others, &[host(id)], true);
            world.later(for_ms, move |world| {
                set(world, &others, &[host(id)], false);
            });
        }
    }
}

/// A node is heard by nobody, but hears.
pub(crate) struct OneWayOut;

impl Fault for OneWayOut {
    fn name(&self) -> &'static str {
        "one-way-mute"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, for_ms: u64) {
        if let Some(id) = somebody(world, chance, chance.clone().percent(50)) {
            let others = everybody(world);
            set(world, &[host(id)], &others, true);
            world.later(for_ms, move |world| {
                set(world, &[host(id)], &others, false);
            });
        }
    }
}

/// Two nodes do not see each other; the others see both.
pub(crate) struct Pair;

impl Fault for Pair {
    fn name(&self) -> &'static str {
        "partial"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, for_ms: u64) {
        if let (Some(one), Some(other)) = (
            somebody(world, chance, true),
            somebody(world, chance, false),
        ) {
            cut_for(world, vec![host(one)], vec![host(other)], for_ms);
        }
    }
}

/// One node sees all others, which do not see each other.
pub(crate) struct Bridge;

impl Fault for Bridge {
    fn name(&self) -> &'static str {
        "bridge"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, for_ms: u64) {
        if let Some(bridge) = somebody(world, chance, false) {
            let others: Vec<IpAddr> = everybody(world)
                .into_iter()
                .filter(|other| *other != host(bridge))
                .collect();
            cut_for(world, others.clone(), others, for_ms);
        }
    }
}

/// A node comes and goes.
pub(crate) struct Flap;

impl Fault for Flap {
    fn name(&self) -> &'static str {
        "flap"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, for_ms: u64) {
        let Some(id) = somebody(world, chance, chance.clone().percent(50)) else {
            return;
        };
        let mut at_ms = 0;
        while at_ms < for_ms {
            let length_ms = chance.within(20..=700);
            world.later(at_ms, move |world| {
                let others = everybody(world);
                cut_for(world, vec![host(id)], others, length_ms);
            });
            at_ms += length_ms + chance.within(20..=700);
        }
    }
}

/// Clients do not see a node that is well.
pub(crate) struct Clients;

impl Fault for Clients {
    fn name(&self) -> &'static str {
        "clients-cut-off"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, for_ms: u64) {
        if let Some(id) = somebody(world, chance, true) {
            let some = clients().filter(|_| chance.percent(50)).collect();
            cut_for(world, vec![host(id)], some, for_ms);
        }
    }
}
