//! What faults are injected into: the cluster, its network, disks and clocks, and who looks after
//! the nodes.

mod care;
mod disks;
mod network;
mod relay;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use cluster_tests::{Artifacts, Clocks, Cluster, Launch};

pub(crate) use care::{Excuse, PATIENCE, names, reason};
pub(crate) use disks::Disks;
pub(crate) use network::{Network, Weather};
pub(crate) use relay::pass_on;

use crate::fault::Kind;
use crate::random::Random;
use crate::timeline::Timeline;
use crate::world::World;

/// Plugins that the workloads call.
const PLUGINS: [&str; 2] = ["ticket", "kv"];

/// A cluster and everything around it that can be harmed.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) cluster: Cluster,
    pub(crate) timeline: Timeline,
    /// `None` where nodes share the loopback device.
    pub(crate) network: Option<Network>,
    pub(crate) disks: Disks,
    /// `None` where clocks cannot be changed.
    pub(crate) clocks: Option<Clocks>,
    voters: usize,
    next_id: u64,
    /// Why a node may end by itself.
    excuses: BTreeMap<u64, Excuse>,
    /// Nodes that are to be replaced by new ones.
    damaged: BTreeSet<u64>,
}

impl Field {
    /// Starts the cluster, prepared for these faults.
    pub(crate) fn start(
        directory: &Path,
        world: World,
        voters: u64,
        kinds: &[Kind],
        timeline: &Timeline,
    ) -> Result<Self> {
        let own = world == World::Own;
        let cluster = Cluster::in_directory(directory, Artifacts::locate()?, &PLUGINS)?;
        std::fs::create_dir_all(cluster.data())?;
        let network = if own {
            let delays = kinds.contains(&Kind::Delay);
            Some(Network::create(voters as u8, delays, timeline)?)
        } else {
            None
        };
        let small_disks = own && kinds.contains(&Kind::DiskFull);
        let clocks = kinds
            .contains(&Kind::Clock)
            .then(|| Clocks::find(directory));
        let mut field = Self {
            network,
            disks: Disks::new(directory, small_disks.then_some(voters as usize / 2 + 1)),
            clocks: clocks.flatten(),
            voters: voters as usize,
            next_id: 1,
            excuses: BTreeMap::new(),
            damaged: BTreeSet::new(),
            timeline: timeline.clone(),
            cluster,
        };
        for _ in 0..voters {
            field.add_node()?;
        }
        field.wait_healthy()?;
        Ok(field)
    }

    /// Starts a node with a number that no node had before, and has it join.
    pub(crate) fn add_node(&mut self) -> Result<u64> {
        let id = self.next_id;
        self.next_id += 1;
        let launch = self.launch(id)?;
        let node = self.cluster.spawn(launch)?;
        node.wait_ready(PATIENCE)?;
        Ok(id)
    }

    fn launch(&mut self, id: u64) -> Result<Launch> {
        let mut launch = self.cluster.launch_joining(id)?;
        launch.data = self.disks.provide(id)?;
        let pki = self.cluster.pki().display().to_string();
        launch.flags = vec!["--pki".into(), pki];
        if let Some(network) = &mut self.network {
            network.place(&mut launch)?;
        }
        if let Some(clocks) = &self.clocks {
            launch.through.extend(clocks.through(id)?);
        }
        Ok(launch)
    }

    /// Kills a node and takes everything away that it had.
    pub(crate) fn take_away(&mut self, id: u64) -> Result<()> {
        self.cluster.forget(id);
        self.excuses.remove(&id);
        self.damaged.remove(&id);
        if let Some(network) = &mut self.network {
            network.release(id);
        }
        self.disks.release(id)
    }

    /// Nodes whose process runs, frozen or not.
    pub(crate) fn running(&self) -> Vec<u64> {
        let running = self.cluster.nodes().filter(|node| node.is_running());
        running.map(|node| node.launch.id).collect()
    }

    /// How many nodes a majority of the voters is.
    pub(crate) fn majority(&self) -> usize {
        self.voters / 2 + 1
    }

    /// How many nodes vote while nothing is wrong.
    pub(crate) fn voters(&self) -> usize {
        self.voters
    }

    /// The leader, when one is known at once.
    pub(crate) fn leader(&self) -> Option<u64> {
        let rows = self.cluster.status().ok()?;
        rows.iter().find(|row| row.leader).map(|row| row.id)
    }

    /// The leader half of the time, else any node.
    pub(crate) fn pick(&self, random: &mut Random) -> Result<u64> {
        Ok(self.pick_some(1, random)?[0])
    }

    /// So many different nodes, running or not, half of the time with the leader as the first.
    pub(crate) fn pick_some(&self, count: usize, random: &mut Random) -> Result<Vec<u64>> {
        let mut nodes = self.cluster.ids();
        let with_leader = random.once_in(2);
        random.shuffle(&mut nodes);
        if with_leader && let Some(leader) = self.leader() {
            nodes.sort_by_key(|id| *id != leader);
        }
        nodes.truncate(count.max(1));
        nodes.first().context("there is no node")?;
        Ok(nodes)
    }

    /// What clients dial: every address at which a node is now or may be later.
    pub(crate) fn addresses(&self) -> Vec<String> {
        match &self.network {
            Some(network) => network.addresses(),
            None => self.cluster.addresses(),
        }
    }

    /// Sets all clocks ahead of the cluster's time, wherever faults have driven that.
    pub(crate) fn put_clocks_ahead(&self) -> Result<()> {
        let Some(clocks) = &self.clocks else {
            return Ok(());
        };
        let ahead = 3 * Clocks::FAR_MS as i64;
        self.running()
            .iter()
            .try_for_each(|id| clocks.set(*id, ahead))
    }

    /// Lets time pass, and looks after the nodes meanwhile.
    pub(crate) fn wait(&mut self, time: Duration) -> Result<()> {
        let end = self.timeline.elapsed() + time;
        loop {
            self.look()?;
            let left = end.saturating_sub(self.timeline.elapsed());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(Duration::from_millis(50)));
        }
    }
}
