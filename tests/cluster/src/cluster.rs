//! Several nodes in one directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::{
    Artifacts, CHECKPOINT_PATIENCE, Hostctl, Launch, Node, PATIENCE, Row, Signal, free_address,
    wait_for_value,
};

/// Bytes of log after which a node makes a checkpoint.
const CHECKPOINT_LOG_BYTES: usize = 16 << 20;

/// A cluster on this machine. Dropping it kills what still runs.
#[derive(Debug)]
pub struct Cluster {
    /// What it is made of.
    pub artifacts: Artifacts,
    /// Components that every node is started with.
    pub plugins: Vec<PathBuf>,
    /// Put in front of every `hostctl`, such as `ip netns exec NAME`.
    pub through: Vec<String>,
    // Before the directory, so that processes end before their files go.
    nodes: BTreeMap<u64, Node>,
    directory: PathBuf,
    temporary: Option<TempDir>,
}

impl Cluster {
    /// No node yet, in a temporary directory, with these plugins.
    pub fn empty(plugins: &[&str]) -> Result<Self> {
        let temporary = tempfile::Builder::new().prefix("hostd-").tempdir()?;
        let mut cluster = Self::in_directory(temporary.path(), Artifacts::locate()?, plugins)?;
        cluster.temporary = Some(temporary);
        Ok(cluster)
    }

    /// No node yet, in a directory that stays.
    pub fn in_directory(path: &Path, artifacts: Artifacts, plugins: &[&str]) -> Result<Self> {
        let plugins = plugins
            .iter()
            .map(|name| artifacts.plugin(name))
            .collect::<Result<_>>()?;
        Ok(Self {
            artifacts,
            plugins,
            through: Vec::new(),
            nodes: BTreeMap::new(),
            directory: path.to_owned(),
            temporary: None,
        })
    }

    /// Nodes 1 to `size`, all voters: 1 founds, the others join through it.
    pub fn of(size: u64, plugins: &[&str]) -> Result<Self> {
        let mut cluster = Self::empty(plugins)?;
        cluster.grow_to(size)?;
        Ok(cluster)
    }

    /// Starts nodes until there are `size`, and waits until all are voters and agree on a leader.
    pub fn grow_to(&mut self, size: u64) -> Result<()> {
        for id in self.nodes.len() as u64 + 1..=size {
            let mut launch = self.launch(id)?;
            launch.join = self.addresses();
            self.start(launch)?;
        }
        if size > 0 {
            self.wait_voters(size as usize)?;
        }
        Ok(())
    }

    /// How to start a node with this id on a free port, as the founder of a cluster.
    pub fn launch(&self, id: u64) -> Result<Launch> {
        Ok(Launch {
            id,
            listen: free_address()?,
            advertise: None,
            data: self.data(),
            join: Vec::new(),
            bootstrap_expect: None,
            plugins: self.plugins.clone(),
            flags: Vec::new(),
            through: Vec::new(),
        })
    }

    /// How to start a node with this id as a further member.
    pub fn launch_joining(&self, id: u64) -> Result<Launch> {
        Ok(Launch {
            join: self.addresses(),
            ..self.launch(id)?
        })
    }

    /// Where processes keep their output, and `data` is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The nodes' data directory.
    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// The certificates that the nodes have made.
    pub fn pki(&self) -> PathBuf {
        self.data().join("pki")
    }

    /// Starts a node and waits until it is ready. Returns its ready line.
    pub fn start(&mut self, launch: Launch) -> Result<String> {
        self.spawn(launch)?.wait_ready(PATIENCE)
    }

    /// Starts a node without waiting. A node of the same id must have ended.
    pub fn spawn(&mut self, launch: Launch) -> Result<&mut Node> {
        let id = launch.id;
        if self.nodes.get(&id).is_some_and(Node::is_running) {
            bail!("node {id} is already running");
        }
        let node = Node::new(launch, &self.artifacts.hostd, &self.directory);
        self.nodes.insert(id, node);
        let node = self.node(id)?;
        node.spawn()?;
        Ok(node)
    }

    /// Starts a stopped node again as it was, and waits until it is ready.
    pub fn restart(&mut self, id: u64) -> Result<()> {
        let node = self.node(id)?;
        node.spawn()?;
        node.wait_ready(PATIENCE)?;
        Ok(())
    }

    /// Forgets a node, and kills it if it still runs.
    pub fn forget(&mut self, id: u64) {
        self.nodes.remove(&id);
    }

    /// A node.
    pub fn node(&mut self, id: u64) -> Result<&mut Node> {
        self.nodes
            .get_mut(&id)
            .with_context(|| format!("there is no node {id}"))
    }

    /// All nodes, running or not.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// The numbers of all nodes, running or not.
    pub fn ids(&self) -> Vec<u64> {
        self.nodes.keys().copied().collect()
    }

    /// What a node tells others to dial.
    pub fn address(&self, id: u64) -> Result<String> {
        let node = self
            .nodes
            .get(&id)
            .with_context(|| format!("there is no node {id}"))?;
        Ok(node.launch.address())
    }

    /// The addresses of all nodes, running or not.
    pub fn addresses(&self) -> Vec<String> {
        self.nodes
            .values()
            .map(|node| node.launch.address())
            .collect()
    }

    /// `hostctl` that knows all running nodes.
    pub fn hostctl(&self) -> Hostctl {
        let running = self.nodes.values().filter(|node| node.is_running());
        let addresses = running.map(|node| node.launch.address()).collect();
        self.hostctl_for(addresses)
    }

    /// `hostctl` that knows one node.
    pub fn hostctl_at(&self, id: u64) -> Result<Hostctl> {
        Ok(self.hostctl_for(vec![self.address(id)?]))
    }

    /// `hostctl` that knows where one node listens, whatever it tells others to dial.
    pub fn hostctl_directly_at(&self, id: u64) -> Result<Hostctl> {
        let node = self
            .nodes
            .get(&id)
            .with_context(|| format!("there is no node {id}"))?;
        Ok(self.hostctl_for(vec![node.launch.listen.to_string()]))
    }

    fn hostctl_for(&self, addresses: Vec<String>) -> Hostctl {
        let hostctl = Hostctl::new(&self.artifacts.hostctl, addresses, &self.pki());
        hostctl.through(self.through.clone())
    }

    /// The status table as the first node that answers tells it.
    pub fn status(&self) -> Result<Vec<Row>> {
        Row::table(&self.hostctl().timeout("5s").json(&["status"])?)
    }

    /// The status table as one node tells it.
    pub fn status_at(&self, id: u64) -> Result<Vec<Row>> {
        Row::table(&self.hostctl_at(id)?.timeout("5s").json(&["status"])?)
    }

    /// Waits until the status table satisfies `condition`, and returns it.
    pub fn wait_status(&self, what: &str, condition: impl Fn(&[Row]) -> bool) -> Result<Vec<Row>> {
        self.wait_status_for(PATIENCE, what, condition)
    }

    /// The same, with another patience.
    pub fn wait_status_for(
        &self,
        patience: Duration,
        what: &str,
        condition: impl Fn(&[Row]) -> bool,
    ) -> Result<Vec<Row>> {
        let mut last = None;
        let found = wait_for_value(what, patience, || {
            last = Some(self.status());
            let rows = last.as_ref()?.as_ref().ok()?;
            condition(rows).then(|| rows.clone())
        });
        found.with_context(|| format!("the last status was {last:?}"))
    }

    /// Waits until there are this many voters, all healthy, one of them leading.
    pub fn wait_voters(&self, voters: usize) -> Result<Vec<Row>> {
        self.wait_status(&format!("{voters} healthy voters with a leader"), |rows| {
            let healthy = |row: &&Row| row.is_voter() && row.reachable && row.health == "ok";
            rows.iter().filter(healthy).count() == voters
                && rows.iter().filter(|row| row.is_voter()).count() == voters
                && rows.iter().filter(|row| row.leader).count() == 1
        })
    }

    /// Waits until a leader is known, and returns its number.
    pub fn wait_leader(&self) -> Result<u64> {
        let rows = self.wait_status("a leader", |rows| rows.iter().any(|row| row.leader))?;
        rows.iter()
            .find(|row| row.leader)
            .map(|row| row.id)
            .context("there is no leader")
    }

    /// Any running node that does not lead.
    pub fn follower(&self) -> Result<u64> {
        let leader = self.wait_leader()?;
        let mut running = self.nodes.values().filter(|node| node.is_running());
        let follower = running
            .find(|node| node.launch.id != leader)
            .context("there is no follower")?;
        Ok(follower.launch.id)
    }

    /// Has the cluster make a checkpoint of what it has now, and returns it once it is durable on
    /// all members, the same one with the same digest.
    pub fn compare_digests(&self) -> Result<(u64, String)> {
        let rows = self.status()?;
        let applied = rows
            .iter()
            .map(|row| row.applied)
            .max()
            .context("there are no members")?;
        self.make_checkpoint_due()?;
        self.wait_equal_digests(applied)
    }

    /// Logs as many bytes as it takes for a checkpoint to be due before its time.
    pub fn make_checkpoint_due(&self) -> Result<()> {
        let value = format!("{{data:{}}}", CHECKPOINT_LOG_BYTES / 32);
        let words = [
            "bench",
            "set",
            "make-a-checkpoint-due",
            &value,
            "--count",
            "40",
        ];
        self.hostctl()
            .timeout("30s")
            .ok(words.into_iter().chain(["--in-flight", "4"]))?;
        Ok(())
    }

    /// Waits until all members have a durable checkpoint at or after `index`, the same one, with
    /// the same digest. Returns the checkpoint's index and that digest.
    ///
    /// Members are asked one after another, so two of them are compared only at equal
    /// checkpoints; unequal digests there are an error at once.
    pub fn wait_equal_digests(&self, index: u64) -> Result<(u64, String)> {
        let what = format!("equal checkpoints from {index} on");
        let rows = self.wait_status_for(CHECKPOINT_PATIENCE, &what, |rows| {
            rows.iter()
                .all(|row| row.reachable && row.checkpoint >= index.max(1))
                && rows.iter().all(|row| row.checkpoint == rows[0].checkpoint)
        })?;
        if let Some(other) = rows.iter().find(|row| row.digest != rows[0].digest) {
            bail!(
                "nodes {} and {} differ at checkpoint {}: {} and {}",
                rows[0].id,
                other.id,
                other.checkpoint,
                rows[0].digest,
                other.digest
            );
        }
        Ok((rows[0].checkpoint, rows[0].digest.clone()))
    }

    /// Stops all running nodes with SIGTERM, all at once, and checks that each ends with exit
    /// code 0.
    pub fn stop(&mut self) -> Result<()> {
        for node in self.nodes.values().filter(|node| node.is_running()) {
            node.signal(Signal::Term)?;
        }
        for node in self.nodes.values_mut().filter(|node| node.is_running()) {
            node.wait_stopped(PATIENCE)?;
        }
        Ok(())
    }

    /// The last lines of every node's log, for a failure's report.
    pub fn tails(&self, lines: usize) -> String {
        let tail = |node: &Node| {
            format!(
                "--- log of node {} ---\n{}\n",
                node.launch.id,
                node.tail(lines)
            )
        };
        self.nodes.values().map(tail).collect()
    }
}
