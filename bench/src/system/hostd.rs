//! Three hostd nodes on loopback, with defaults: mutual TLS, fsync on. Clients are the client
//! library, of which several can share a connection.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use hostd_client::{Client, Credentials, NodeStatus};
use hostd_protocol::{Health, Reply, Role};
use tokio::time::{Instant, sleep};

use super::redis_benchmark::Benchmark;
use super::{KEYS, VALUE_BYTES, Work};
use crate::load::Lane;
use crate::options::Options;
use crate::ports;
use crate::process::Process;
use crate::random::Random;
use crate::shape::Shape;

/// Nodes of a cluster, where nothing else is said.
pub(crate) const NODES: usize = 3;

/// A node that takes longer to start, or a cluster to become whole, is taken for broken.
const START_WITHIN: Duration = Duration::from_mins(1);

/// What is measured.
#[derive(Clone, Debug)]
pub(crate) struct Binaries {
    hostd: PathBuf,
    plugins: Vec<PathBuf>,
}

impl Binaries {
    /// Finds hostd and its plugins, or says how to build them.
    pub(crate) fn find(options: &Options) -> Result<Self> {
        let target = crate::paths::target();
        let hostd = options
            .hostd
            .clone()
            .unwrap_or_else(|| target.join("release/hostd"));
        let dir = options
            .plugins
            .clone()
            .unwrap_or_else(|| target.join("plugins"));
        let plugins = vec![dir.join("ticket.wasm"), dir.join("kv.wasm")];
        for file in plugins.iter().chain([&hostd]) {
            ensure!(
                file.is_file(),
                "{} is missing: `cargo xtask bench` builds it first, or name another with \
                 --hostd and --plugins",
                file.display()
            );
        }
        Ok(Self { hostd, plugins })
    }
}

/// A running cluster.
#[derive(Debug)]
pub(crate) struct Hostd {
    binaries: Binaries,
    dir: PathBuf,
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    id: u64,
    address: SocketAddr,
    process: Process,
}

/// Which node the clients of a load are connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// The leader, as the client library does by itself.
    Leader,
    /// A follower, which forwards.
    Follower,
}

impl Hostd {
    /// Starts so many nodes in `dir`, and waits until all are voters and in sync.
    pub(crate) async fn start(binaries: &Binaries, dir: &Path, nodes: usize) -> Result<Self> {
        let mut cluster = Self {
            binaries: binaries.clone(),
            dir: dir.to_owned(),
            nodes: Vec::new(),
        };
        for (id, address) in (1..).zip(ports::free(nodes)?) {
            let mut process = cluster.spawn(id, address)?;
            process.wait_for_line("ready ", START_WITHIN).await?;
            cluster.nodes.push(Node {
                id,
                address,
                process,
            });
        }
        cluster.wait_whole().await?;
        Ok(cluster)
    }

    /// The nodes' process ids.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.nodes.iter().map(|node| node.process.pid()).collect()
    }

    /// The nodes' numbers and processes.
    pub(crate) fn processes(&self) -> impl Iterator<Item = (u64, &Process)> {
        self.nodes.iter().map(|node| (node.id, &node.process))
    }

    /// A client that finds its way to the leader.
    pub(crate) async fn client(&self) -> Result<Client> {
        let servers = self.nodes.iter().map(|node| node.address.to_string());
        let client = Client::builder()
            .servers(servers)
            .credentials(self.credentials()?)
            .connect()
            .await?;
        Ok(client)
    }

    /// A row per member.
    pub(crate) async fn status(&self) -> Result<Vec<NodeStatus>> {
        let client = self.client().await?;
        let status = client.status().await;
        client.close().await;
        Ok(status?)
    }

    /// The leader's number.
    pub(crate) async fn leader(&self) -> Result<u64> {
        let status = self.status().await?;
        let leader = status.iter().find(|row| row.leader);
        Ok(leader.context("hostd has no leader")?.id)
    }

    /// redis-benchmark for the leader.
    pub(crate) async fn benchmark(&self) -> Result<Benchmark> {
        let leader = self.leader().await?;
        let leader = self.nodes.iter().find(|node| node.id == leader);
        Benchmark::find(leader.context("the leader is not of this cluster")?.address)
    }

    /// Kills a node with SIGKILL.
    pub(crate) fn kill(&mut self, id: u64) -> Result<()> {
        self.node(id)?.process.kill()
    }

    /// Starts a killed node again, and waits until the cluster is whole.
    pub(crate) async fn restart(&mut self, id: u64) -> Result<()> {
        let address = self.node(id)?.address;
        let process = self.spawn(id, address)?;
        let node = self.node(id)?;
        node.process = process;
        node.process.wait_for_line("ready ", START_WITHIN).await?;
        self.wait_whole().await
    }

    /// Writes every key once.
    pub(crate) async fn fill(&self) -> Result<()> {
        let client = self.client().await?;
        let value = [b'x'; VALUE_BYTES];
        for start in (0..KEYS).step_by(500) {
            let keys: Vec<_> = (start..KEYS.min(start + 500)).map(key).collect();
            let pairs = keys.iter().flat_map(|key| [key.as_bytes(), &value]);
            client.call("mset", pairs).await.context("fill hostd")?;
        }
        client.close().await;
        Ok(())
    }

    /// The lanes of a load over this many keys: clients that share this many connections, each
    /// with a session open.
    pub(crate) async fn lanes(
        &self,
        work: Work,
        shape: Shape,
        connections: usize,
        via: Via,
        keys: u64,
    ) -> Result<Vec<Caller>> {
        let follower = match via {
            Via::Leader => None,
            Via::Follower => Some(self.follower().await?),
        };
        let mut shared = Vec::new();
        for _ in 0..connections {
            let client = match follower {
                None => self.client().await?,
                Some(address) => self.client_at(address).await?,
            };
            client.prepare().await?;
            shared.push(client);
        }
        let lanes = (0..shape.clients * shape.in_flight).map(|lane| Caller {
            client: shared[lane % connections].clone(),
            work,
            keys,
            random: Random::new(lane as u64),
        });
        Ok(lanes.collect())
    }

    async fn follower(&self) -> Result<SocketAddr> {
        let leader = self.leader().await?;
        let follower = self.nodes.iter().find(|node| node.id != leader);
        Ok(follower.context("no follower")?.address)
    }

    /// A client that stays at one node. The client library moves to the leader unless it is meant
    /// for one call; such a client marks its writes with random keys instead of a session's
    /// numbers, which makes them a little larger.
    async fn client_at(&self, address: SocketAddr) -> Result<Client> {
        let client = Client::builder()
            .servers([address.to_string()])
            .credentials(self.credentials()?)
            .one_shot()
            .connect()
            .await?;
        Ok(client)
    }

    fn credentials(&self) -> Result<Credentials> {
        let pki = self.dir.join("data/pki");
        Credentials::from_dir_client(&pki, "admin").with_context(|| format!("in {}", pki.display()))
    }

    fn spawn(&self, id: u64, address: SocketAddr) -> Result<Process> {
        let mut command = Command::new(&self.binaries.hostd);
        for plugin in &self.binaries.plugins {
            command.arg("--plugin").arg(plugin);
        }
        command
            .args(["--node-id", &id.to_string()])
            .args(["--listen", &address.to_string()])
            .args(["--log-level", "warn"])
            .arg("--data")
            .arg(self.dir.join("data"));
        if let Some(first) = self.nodes.first().filter(|first| first.id != id) {
            command.args(["--join", &first.address.to_string()]);
        }
        Process::start(&format!("hostd-{id}"), &mut command, &self.dir)
    }

    fn node(&mut self, id: u64) -> Result<&mut Node> {
        let node = self.nodes.iter_mut().find(|node| node.id == id);
        node.with_context(|| format!("there is no node {id}"))
    }

    /// Waits until all nodes are voters, in sync, with one leader.
    async fn wait_whole(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_WITHIN;
        loop {
            for node in &mut self.nodes {
                node.process.check_running()?;
            }
            let status = self.status().await;
            if matches!(&status, Ok(rows) if is_whole(rows, self.nodes.len())) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("hostd's nodes did not form a whole cluster: {status:#?}");
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}

fn is_whole(rows: &[NodeStatus], nodes: usize) -> bool {
    let voter = |row: &NodeStatus| matches!(row.role, Role::Leader | Role::Follower);
    rows.len() == nodes
        && rows.iter().filter(|row| row.leader).count() == 1
        && rows
            .iter()
            .all(|row| row.health == Health::Ok && voter(row) && row.plugins.len() == 2)
}

fn key(number: u64) -> String {
    format!("key:{number:012}")
}

/// One call in flight at a time.
#[derive(Debug)]
pub(crate) struct Caller {
    client: Client,
    work: Work,
    keys: u64,
    random: Random,
}

impl Lane for Caller {
    async fn once(&mut self) -> Result<()> {
        let value = [b'x'; VALUE_BYTES];
        let key = key(self.random.below(self.keys));
        let reply = match self.work {
            Work::Ticket => self.client.call("ticket", [""; 0]).await?,
            Work::Set => self.client.call("set", [key.as_bytes(), &value]).await?,
            Work::Get => self.client.call("get", [key]).await?,
            Work::Incr => bail!("hostd is not loaded with incr"),
        };
        let expected = match (self.work, &reply) {
            (Work::Ticket, Reply::Integer(_)) | (Work::Set, Reply::Ok) => true,
            (Work::Get, Reply::Bytes(bytes)) => bytes.len() == VALUE_BYTES,
            _ => false,
        };
        ensure!(expected, "{} answered {reply:?}", self.work.name());
        Ok(())
    }
}
