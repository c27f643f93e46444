//! One Redis server that syncs every write.
//!
//! Snapshots and rewrites of the append-only file are off, which spares Redis work that it does by
//! default in the background.

use std::path::{Path, PathBuf};
use std::process::Command as StdCommand;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::redis_benchmark::Benchmark;
use super::{KEYS, Work};
use crate::load::Measured;
use crate::options::Timing;
use crate::process::Process;
use crate::shape::Shape;
use crate::{ports, tool};

/// A running Redis server.
#[derive(Debug)]
pub(crate) struct Redis {
    server: Process,
    benchmark: Benchmark,
    /// Redis's version.
    pub(crate) version: String,
}

/// What the comparison needs from this machine.
#[derive(Debug)]
pub(crate) struct Tools {
    server: PathBuf,
}

impl Tools {
    /// Finds the server and redis-benchmark, or says what to install.
    pub(crate) fn find() -> Result<Self> {
        Ok(Self {
            server: tool::find("redis-server", &["/usr/bin/redis-server"]).context(
                "redis-server is missing: `apt-get install --no-install-recommends redis-server` \
                 installs it",
            )?,
        })
    }
}

impl Redis {
    /// Starts the server in `dir`.
    pub(crate) async fn start(tools: &Tools, dir: &Path) -> Result<Self> {
        let address = ports::free(1)?[0];
        let mut command = StdCommand::new(&tools.server);
        command
            .args(["--bind", "127.0.0.1", "--port", &address.port().to_string()])
            .args(["--appendonly", "yes", "--appendfsync", "always"])
            .args(["--save", "", "--auto-aof-rewrite-percentage", "0"])
            .arg("--dir")
            .arg(dir);
        let mut server = Process::start("redis", &mut command, dir)?;
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while tokio::net::TcpStream::connect(address).await.is_err() {
            server.check_running()?;
            if tokio::time::Instant::now() > deadline {
                bail!("redis-server does not listen on {address}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let redis = Self {
            server,
            benchmark: Benchmark::find(address)?,
            version: tool::version(&tools.server).await?,
        };
        // GET then finds nearly every key.
        redis
            .benchmark
            .run_many(Work::Set, Shape::new(50, 16), 5 * KEYS)
            .await
            .context("fill Redis")?;
        Ok(redis)
    }

    /// The server's process id.
    pub(crate) fn pids(&self) -> Vec<u32> {
        vec![self.server.pid()]
    }

    /// Puts the server under load.
    pub(crate) async fn run(&self, work: Work, shape: Shape, timing: Timing) -> Result<Measured> {
        self.benchmark.run(work, shape, timing).await
    }
}
