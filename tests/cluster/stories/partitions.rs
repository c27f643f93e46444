//! A leader that is cut off from the others and not from its clients.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use cluster_tests::{Cluster, Hostctl, Launch, Namespaces, PATIENCE, Proxy, wait_for};

use crate::support::story;

/// What the story needs of a network.
trait Network {
    /// Puts a node into it.
    fn place(&mut self, launch: Launch) -> Result<Launch>;
    /// Cuts one node off from the other two.
    fn isolate(&self, id: u64) -> Result<()>;
    /// `hostctl` that reaches the isolated node and no other. The client library goes to any
    /// member that answers, so it must be cut off too.
    fn beside(&self, cluster: &Cluster, id: u64) -> Result<Hostctl>;
    /// Undoes [`Network::isolate`].
    fn heal(&self) -> Result<()>;
}

/// The leader, as one of these nodes knows it.
fn leader_known_to(cluster: &Cluster, ids: &[u64]) -> Option<u64> {
    let hostctls = ids
        .iter()
        .filter_map(|&id| cluster.hostctl_directly_at(id).ok());
    let mut leaders = hostctls.filter_map(|hostctl| {
        let members = hostctl.timeout("1s").json(&["member", "list"]).ok()?;
        members
            .as_array()?
            .iter()
            .find(|member| member["leader"] == true)?["id"]
            .as_u64()
    });
    leaders.next()
}

fn tell(cluster: &mut Cluster, network: &mut impl Network) -> Result<()> {
    for id in 1..=3 {
        let launch = network.place(cluster.launch_joining(id)?)?;
        cluster.start(launch)?;
    }
    cluster.wait_voters(3)?;
    let cut_off = cluster.wait_leader()?;
    let majority: Vec<u64> = cluster
        .ids()
        .into_iter()
        .filter(|id| *id != cut_off)
        .collect();
    let before = cluster.hostctl_directly_at(cut_off)?;
    before.call(&["set", "k", "old"])?;
    ensure!(before.call(&["get", "k"])? == "old");

    network.isolate(cut_off)?;
    // Longer than a node holds a call back for a leader to appear.
    let alone = network.beside(cluster, cut_off)?.timeout("8s");
    // Whatever it believes about its leadership, it may neither vouch for a value nor decide a
    // write.
    alone.run(["call", "get", "k"])?.refused(7, "no_quorum")?;
    alone
        .run(["call", "set", "k", "lost"])?
        .refused(7, "no_quorum")?;

    wait_for("the majority has a leader", PATIENCE, || {
        leader_known_to(cluster, &majority).is_some_and(|leader| majority.contains(&leader))
    })?;
    for (round, &id) in majority.iter().enumerate() {
        let hostctl = cluster.hostctl_directly_at(id)?.timeout("20s");
        let value = format!("new {round}");
        hostctl.call(&["set", "k", &value])?;
        ensure!(hostctl.call(&["get", "k"])? == value);
        alone.run(["call", "get", "k"])?.refused(7, "no_quorum")?;
    }
    // Asked for what it has, it gives that.
    let stale = alone.ok(["call", "--read", "stale", "get", "k"])?;
    ensure!(stale == "old", "its own state says {stale:?}");

    network.heal()?;
    let value = alone.timeout("20s").call(&["get", "k"])?;
    ensure!(value == "new 1", "after the partition it reads {value:?}");
    cluster.wait_voters(3)?;
    cluster.compare_digests()?;
    Ok(())
}

/// A proxy in front of every node, with the node's number and where it listens. Nodes dial the
/// proxies, and the story's clients the nodes themselves, until they learn of the proxies.
#[derive(Default)]
struct Proxies(Vec<(u64, SocketAddr, Proxy)>);

impl Network for Proxies {
    fn place(&mut self, mut launch: Launch) -> Result<Launch> {
        let proxy = Proxy::start(launch.listen)?;
        launch.advertise = Some(proxy.address().to_string());
        self.0.push((launch.id, launch.listen, proxy));
        Ok(launch)
    }

    fn isolate(&self, id: u64) -> Result<()> {
        for (here, _, proxy) in &self.0 {
            let admitted = self
                .0
                .iter()
                .filter(|(there, ..)| *here != id && *there != id);
            proxy.admit_only(admitted.map(|(_, listens, _)| *listens));
        }
        Ok(())
    }

    fn beside(&self, cluster: &Cluster, id: u64) -> Result<Hostctl> {
        cluster.hostctl_directly_at(id)
    }

    fn heal(&self) -> Result<()> {
        self.0.iter().for_each(|(_, _, proxy)| proxy.admit_all());
        Ok(())
    }
}

/// The host of clients that share the isolated node's fate; the nodes are on 1 to 3, all other
/// clients on 0.
const BESIDE: u8 = 4;

impl Network for Namespaces {
    fn place(&mut self, mut launch: Launch) -> Result<Launch> {
        let host = launch.id as u8;
        launch.listen = self.address(host);
        launch.through = self.through(host);
        Ok(launch)
    }

    fn isolate(&self, id: u64) -> Result<()> {
        for other in (1..=3).filter(|other| *other != id as u8) {
            self.cut(id as u8, other)?;
            self.cut(BESIDE, other)?;
        }
        Ok(())
    }

    fn beside(&self, cluster: &Cluster, id: u64) -> Result<Hostctl> {
        Ok(cluster
            .hostctl_directly_at(id)?
            .through(self.through(BESIDE)))
    }

    fn heal(&self) -> Result<()> {
        Namespaces::heal(self)
    }
}

#[test]
fn a_leader_cut_off_by_proxies_never_answers_an_old_value() {
    story(0, |cluster| tell(cluster, &mut Proxies::default()));
}

#[test]
fn a_leader_cut_off_in_the_kernel_never_answers_an_old_value() {
    let Some(mut namespaces) = Namespaces::create(BESIDE) else {
        eprintln!("skipped: the story with proxies tells the same");
        return;
    };
    story(0, |cluster| {
        cluster.through = namespaces.through(0);
        tell(cluster, &mut namespaces)
    });
}
