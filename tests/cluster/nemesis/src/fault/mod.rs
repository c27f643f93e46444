//! What is done to the cluster: one file per fault. Operations that an administrator does count
//! as faults here, too: all of it must pass unnoticed, or be over soon after it is healed.

mod clock;
mod corrupt;
mod delay;
mod disk_full;
mod kill;
mod membership;
mod one_way;
mod partition;
mod pause;
mod restart;
mod transfer;

use anyhow::Result;
use clap::ValueEnum;
use cluster_tests::Clocks;

use crate::field::Field;
use crate::random::Random;
use crate::world::World;

/// A fault that is going on.
pub(crate) trait Fault {
    /// Does the harm, or begins to. Returns what it did, in words.
    fn inject(&mut self, field: &mut Field, random: &mut Random) -> Result<String>;

    /// Undoes it. What it takes the cluster to become healthy is waited for by the caller.
    fn heal(&mut self, field: &mut Field) -> Result<()>;
}

/// The faults and operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Kind {
    /// Nodes are killed (SIGKILL)
    Kill,
    /// Nodes are frozen (SIGSTOP)
    Pause,
    /// Nodes cannot reach each other
    Partition,
    /// Nodes can be reached and cannot reach, or the reverse
    OneWay,
    /// Packets are late, out of order or lost
    Delay,
    /// Disks are full
    DiskFull,
    /// A file of a stopped node is damaged
    Corrupt,
    /// Wall clocks jump
    Clock,
    /// Nodes are stopped in order (SIGTERM) and started again
    Restart,
    /// Leadership is moved
    Transfer,
    /// Nodes are removed, added, demoted and promoted
    Membership,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: &'static [Self] = &[
        Kind::Kill,
        Kind::Pause,
        Kind::Partition,
        Kind::OneWay,
        Kind::Delay,
        Kind::DiskFull,
        Kind::Corrupt,
        Kind::Clock,
        Kind::Restart,
        Kind::Transfer,
        Kind::Membership,
    ];

    /// A fault of this kind that has not begun.
    pub(crate) fn prepare(self) -> Box<dyn Fault> {
        match self {
            Kind::Kill => Box::<kill::Kill>::default(),
            Kind::Pause => Box::<pause::Pause>::default(),
            Kind::Partition => Box::<partition::Partition>::default(),
            Kind::OneWay => Box::<one_way::OneWay>::default(),
            Kind::Delay => Box::<delay::Delay>::default(),
            Kind::DiskFull => Box::<disk_full::DiskFull>::default(),
            Kind::Corrupt => Box::<corrupt::Corrupt>::default(),
            Kind::Clock => Box::<clock::Clock>::default(),
            Kind::Restart => Box::<restart::Restart>::default(),
            Kind::Transfer => Box::<transfer::Transfer>::default(),
            Kind::Membership => Box::<membership::Membership>::default(),
        }
    }

    /// As on the command line.
    pub(crate) fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Why it cannot be injected here, if so.
    pub(crate) fn hindrance(self, world: World) -> Option<&'static str> {
        match self {
            Kind::Partition | Kind::OneWay | Kind::Delay | Kind::DiskFull
                if world == World::Shared =>
            {
                Some(
                    "it needs namespaces: root, or a kernel that lets users have them; and ip, iptables, unshare",
                )
            }
            Kind::Clock if !Clocks::exist() => {
                Some("libfaketime is missing; `apt-get install faketime` brings it")
            }
            _ => None,
        }
    }

    /// Whether everything must work under it as usual.
    fn is_harmless(self) -> bool {
        matches!(self, Kind::Clock | Kind::Transfer)
    }

    /// Whether it is an operation, which must succeed.
    fn is_operation(self) -> bool {
        matches!(self, Kind::Corrupt | Kind::Restart | Kind::Membership)
    }

    /// Whether both may go on at the same time.
    pub(crate) fn goes_with(self, other: Self) -> bool {
        let operation = self.is_operation() || other.is_operation();
        let harmless = self.is_harmless() || other.is_harmless();
        self != other && (harmless || !operation)
    }

    /// Of two faults, the one with the lower number is injected first: operations come last,
    /// moving leadership after what may break it.
    pub(crate) fn order(self) -> u8 {
        match self {
            Kind::Clock | Kind::Delay => 0,
            Kind::Transfer => 2,
            _ => 1,
        }
    }
}

/// Numbers as words for the timeline: `1, 2`.
fn list(ids: &[u64]) -> String {
    let ids: Vec<String> = ids.iter().map(u64::to_string).collect();
    ids.join(", ")
}
