//! Three etcd nodes on loopback, and the load generator in `bench/etcd`.
//!
//! etcd runs with its defaults and without TLS, which spares it what hostd pays for mutual TLS.
//! Its clients go to the leader, as hostd's do.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command as StdCommand;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use super::{KEYS, VALUE_BYTES, Work};
use crate::load::Measured;
use crate::options::Timing;
use crate::process::Process;
use crate::shape::Shape;
use crate::{ports, tool};

const NODES: usize = 3;

/// A running etcd cluster.
#[derive(Debug)]
pub(crate) struct Etcd {
    nodes: Vec<Process>,
    clients: Vec<SocketAddr>,
    generator: PathBuf,
    leader: String,
    /// etcd's version.
    pub(crate) version: String,
}

/// What the comparison needs from this machine.
#[derive(Debug)]
pub(crate) struct Tools {
    etcd: PathBuf,
    go: PathBuf,
}

impl Tools {
    /// Finds etcd and Go, or says what to install.
    pub(crate) fn find() -> Result<Self> {
        let etcd = tool::find("etcd", &["/usr/bin/etcd", "/usr/local/bin/etcd"]).context(
            "etcd is missing: `apt-get install --no-install-recommends etcd-server` installs it",
        )?;
        let go = tool::find("go", &["/usr/local/go/bin/go", "/usr/lib/go/bin/go"]).context(
            "Go is missing, which builds etcd's load generator: `apt-get install \
             --no-install-recommends golang-go`, or https://go.dev/dl (1.26 or later)",
        )?;
        Ok(Self { etcd, go })
    }
}

impl Etcd {
    /// Builds the load generator, starts the nodes in `dir`, and waits for a leader.
    pub(crate) async fn start(tools: &Tools, dir: &Path) -> Result<Self> {
        let version = tool::version(&tools.etcd).await?;
        let generator = build_generator(&tools.go).await?;
        let ports = ports::free(2 * NODES)?;
        let (clients, peers) = ports.split_at(NODES);
        let cluster: Vec<String> = (1..)
            .zip(peers)
            .map(|(id, peer)| format!("e{id}=http://{peer}"))
            .collect();
        let cluster = cluster.join(",");
        let mut nodes = Vec::new();
        for (id, (client, peer)) in (1..).zip(clients.iter().zip(peers)) {
            let name = format!("e{id}");
            let client = format!("http://{client}");
            let peer = format!("http://{peer}");
            let mut command = StdCommand::new(&tools.etcd);
            command
                .args(["--name", &name, "--initial-cluster", &cluster])
                .args(["--listen-peer-urls", &peer])
                .args(["--initial-advertise-peer-urls", &peer])
                .args(["--listen-client-urls", &client])
                .args(["--advertise-client-urls", &client])
                .args(["--log-level", "error"])
                .arg("--data-dir")
                .arg(dir.join(&name));
            nodes.push(Process::start(&format!("etcd-{id}"), &mut command, dir)?);
        }
        let mut etcd = Self {
            nodes,
            clients: clients.to_vec(),
            generator,
            leader: String::new(),
            version,
        };
        etcd.leader = etcd.find_leader().await?;
        etcd.generate(&["-op", "fill", "-clients", "64", "-conns", "8"])
            .await
            .context("fill etcd")?;
        Ok(etcd)
    }

    /// The nodes' process ids.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.nodes.iter().map(Process::pid).collect()
    }

    /// Puts the cluster under load through this many connections.
    pub(crate) async fn run(
        &self,
        work: Work,
        shape: Shape,
        connections: usize,
        timing: Timing,
    ) -> Result<Measured> {
        let operation = match work {
            Work::Set => "put",
            Work::Get => "range",
            Work::Ticket | Work::Incr => bail!("etcd has no {}", work.name()),
        };
        let number = |number: usize| number.to_string();
        let milliseconds = |duration: Duration| format!("{}ms", duration.as_millis());
        let printed = self
            .generate(&[
                "-op",
                operation,
                "-clients",
                &number(shape.clients),
                "-in-flight",
                &number(shape.in_flight),
                "-conns",
                &number(connections),
                "-warmup",
                &milliseconds(timing.warmup),
                "-duration",
                &milliseconds(timing.duration),
            ])
            .await?;
        serde_json::from_str(&printed).context("understand etcd's load generator")
    }

    /// Runs the load generator against the leader.
    async fn generate(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.generator);
        command
            .args(["-endpoints", &self.leader])
            .args(["-keys", &KEYS.to_string()])
            .args(["-value-bytes", &VALUE_BYTES.to_string()])
            .args(arguments);
        tool::run(&mut command).await
    }

    async fn find_leader(&mut self) -> Result<String> {
        let endpoints: Vec<String> = self.clients.iter().map(ToString::to_string).collect();
        let mut command = Command::new(&self.generator);
        command.args(["-op", "leader", "-endpoints", &endpoints.join(",")]);
        let found = tool::run(&mut command).await;
        for node in &mut self.nodes {
            node.check_running()?;
        }
        Ok(found?.trim().to_owned())
    }
}

/// Builds the load generator into cargo's target directory.
async fn build_generator(go: &Path) -> Result<PathBuf> {
    let binary = crate::paths::target().join("bench-etcdload");
    let mut command = Command::new(go);
    command
        .current_dir(crate::paths::bench().join("etcd"))
        .arg("build")
        .arg("-o")
        .arg(&binary)
        .arg(".");
    tool::run(&mut command).await.context(
        "build etcd's load generator in bench/etcd (its modules come from the Go module proxy \
         the first time)",
    )?;
    Ok(binary)
}
