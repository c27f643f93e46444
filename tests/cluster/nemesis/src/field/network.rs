//! A host of its own for every node, which can be cut off, in one direction or both, and slowed
//! down.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result};
use cluster_tests::{Launch, Namespaces};

use super::relay::Relay;
use crate::timeline::Timeline;

/// Hosts more than voters: a node that joins is not at the address of one that has just gone.
const SPARE_HOSTS: u8 = 2;

/// Where a relay listens, on the host of its node.
const RELAY_PORT: u16 = 11_002;

/// What packets meet on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Weather {
    /// How late they are.
    pub(crate) delay: Duration,
    /// How many of a hundred are not late, and so overtake others.
    pub(crate) early_percent: u32,
    /// How many of a hundred are lost.
    pub(crate) loss_percent: u32,
}

/// The nodes' hosts.
#[derive(Debug)]
pub(crate) struct Network {
    // Before the namespaces, so that relays end before their hosts go.
    relays: Option<BTreeMap<u8, Relay>>,
    namespaces: Namespaces,
    hosts: u8,
    /// Which host a node is on.
    places: BTreeMap<u64, u8>,
    next: u8,
}

impl Network {
    /// Hosts for so many voters; prepared for delays where asked.
    pub(crate) fn create(voters: u8, delays: bool, timeline: &Timeline) -> Result<Self> {
        let hosts = voters + SPARE_HOSTS;
        let namespaces = Namespaces::create(hosts - 1).context("no network namespaces")?;
        namespaces.connect_here()?;
        let relays = if delays && !can_delay(&namespaces) {
            timeline.note("this kernel cannot delay packets (no sch_netem): relays do");
            let relay = |host| anyhow::Ok((host, Relay::start(&namespaces, host, RELAY_PORT)?));
            Some((0..hosts).map(relay).collect::<Result<_>>()?)
        } else {
            None
        };
        Ok(Self {
            relays,
            namespaces,
            hosts,
            places: BTreeMap::new(),
            next: 0,
        })
    }

    /// Puts a node on a free host.
    pub(crate) fn place(&mut self, launch: &mut Launch) -> Result<()> {
        let free = |host: &u8| !self.places.values().any(|taken| taken == host);
        let mut hosts = (0..self.hosts).map(|step| (self.next + step) % self.hosts);
        let host = hosts.find(free).context("every host has a node")?;
        self.next = (host + 1) % self.hosts;
        self.places.insert(launch.id, host);
        launch.listen = self.namespaces.address(host);
        launch.advertise = Some(self.dialled(host).to_string());
        launch.through = self.namespaces.through(host);
        Ok(())
    }

    /// Makes the host of a node that has gone free.
    pub(crate) fn release(&mut self, id: u64) {
        self.places.remove(&id);
    }

    /// What others dial on every host.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let hosts = 0..self.hosts;
        hosts.map(|host| self.dialled(host).to_string()).collect()
    }

    fn dialled(&self, host: u8) -> SocketAddr {
        let mut address = self.namespaces.address(host);
        if self.relays.is_some() {
            address.set_port(RELAY_PORT);
        }
        address
    }

    /// Drops every packet between two nodes.
    pub(crate) fn cut(&self, one: u64, other: u64) -> Result<()> {
        self.namespaces.cut(self.host(one)?, self.host(other)?)
    }

    /// Drops every packet that one node sends to another.
    pub(crate) fn cut_one_way(&self, from: u64, to: u64) -> Result<()> {
        self.namespaces
            .cut_one_way(self.host(from)?, self.host(to)?)
    }

    /// Undoes all cuts.
    pub(crate) fn heal(&self) -> Result<()> {
        self.namespaces.heal()
    }

    /// Delays and loses packets that this node sends and, by relays, also those that it is sent.
    pub(crate) fn slow_down(&mut self, id: u64, weather: Weather) -> Result<()> {
        let host = self.host(id)?;
        let address = self.namespaces.address(host).ip();
        let Some(relays) = &mut self.relays else {
            let words = netem(weather);
            return self.namespaces.run_on(host, &words);
        };
        for (place, relay) in relays {
            // Its own relay for what others began, the others' for what it began.
            let from: Option<IpAddr> = (*place != host).then_some(address);
            relay.slow_down(from, weather)?;
        }
        Ok(())
    }

    /// Undoes [`Network::slow_down`] of all nodes.
    pub(crate) fn speed_up(&mut self) -> Result<()> {
        if let Some(relays) = &mut self.relays {
            return relays.values_mut().try_for_each(Relay::speed_up);
        }
        for host in 0..self.hosts {
            // It fails where nothing was put there.
            let _ = self.namespaces.run_on(host, "tc qdisc del dev eth0 root");
        }
        Ok(())
    }

    fn host(&self, id: u64) -> Result<u8> {
        let host = self.places.get(&id).copied();
        host.with_context(|| format!("node {id} is on no host"))
    }
}

fn netem(weather: Weather) -> String {
    format!(
        "tc qdisc replace dev eth0 root netem delay {}ms reorder {}% loss {}%",
        weather.delay.as_millis(),
        weather.early_percent,
        weather.loss_percent
    )
}

/// Whether the kernel can delay packets by itself.
fn can_delay(namespaces: &Namespaces) -> bool {
    let weather = Weather {
        delay: Duration::from_millis(1),
        early_percent: 1,
        loss_percent: 1,
    };
    namespaces.run_on(0, &netem(weather)).is_ok()
        && namespaces.run_on(0, "tc qdisc del dev eth0 root").is_ok()
}
