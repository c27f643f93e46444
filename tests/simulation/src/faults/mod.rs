//! What goes wrong, one file for each kind. A fault begins at its time and ends by itself; it takes
//! its decisions from a stream of its own, so that leaving out another changes nothing in it.

mod clock;
mod crash;
mod damage;
mod disk;
mod flip;
mod network;
pub(crate) mod partition;
mod pause;

pub(crate) use flip::FlipValue;

use crate::chance::Chance;
use crate::world::World;

/// Something that goes wrong, or that an operator does meanwhile.
pub(crate) trait Fault: Sync {
    /// Its name in plans and reports.
    fn name(&self) -> &'static str;

    /// Begins. It ends after about `for_ms`, by what it leaves with [`World::later`], or at
    /// [`World::heal`].
    fn begin(&self, world: &mut World, chance: &mut Chance, for_ms: u64);
}

/// All of them.
pub(crate) const ALL: &[&dyn Fault] = &[
    &crash::Process,
    &crash::Power,
    &crash::Leader,
    &crash::Everybody,
    &crash::Doom,
    &crash::DoomAtStart,
    &pause::Any,
    &pause::Leader,
    &pause::Blink,
    &partition::Isolate,
    &partition::IsolateLeader,
    &partition::Split,
    &partition::OneWayIn,
    &partition::OneWayOut,
    &partition::Pair,
    &partition::Bridge,
    &partition::Flap,
    &partition::Clients,
    &network::Loss,
    &network::Delay,
    &network::Reorder,
    &network::Duplicate,
    &network::Lossy,
    &disk::SlowSync,
    &disk::SlowLeader,
    &disk::SlowEverywhere,
    &disk::StuckSync,
    &disk::SyncError,
    &disk::WriteError,
    &disk::Full,
    &disk::FlippedReads,
    &damage::Log,
    &damage::State,
    &clock::Forward,
    &clock::Back,
    &clock::Fast,
    &clock::Slow,
];

/// A node that is on, preferring the leader when `leader` is set.
pub(crate) fn somebody(world: &World, chance: &mut Chance, leader: bool) -> Option<u64> {
    let on: Vec<u64> = world
        .nodes
        .values()
        .filter(|node| node.is_on())
        .map(|node| node.id)
        .collect();
    if leader
        && let Some((id, _)) = world.invariants.leader
        && on.contains(&id)
    {
        return Some(id);
    }
    chance.pick(&on).copied()
}
