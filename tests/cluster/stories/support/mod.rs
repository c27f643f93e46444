//! What stories have in common.

mod diverge;
pub(crate) mod http;
pub(crate) mod http2;
mod load;
mod resp;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use cluster_tests::Cluster;
use hostd_client::{Client, Credentials};

pub(crate) use diverge::{make_wrong, set};
pub(crate) use load::Load;
pub(crate) use resp::{Resp, command};

/// Plugins that every story's nodes have.
const PLUGINS: [&str; 2] = ["ticket", "kv"];

/// How long one call of a client may take. Longer than any outage that a story makes.
const CALL_TIMEOUT: Duration = Duration::from_secs(40);

/// Tells a story with a cluster of so many nodes. When it fails, the nodes' last log lines are
/// part of the report.
pub(crate) fn story(nodes: u64, tell: impl FnOnce(&mut Cluster) -> Result<()>) {
    let mut cluster = Cluster::empty(&PLUGINS).expect("a cluster can be set up");
    let told = catch_unwind(AssertUnwindSafe(|| {
        cluster.grow_to(nodes)?;
        tell(&mut cluster)
    }));
    match told {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            eprintln!("{}", cluster.tails(40));
            panic!("{error:?}");
        }
        Err(panic) => {
            eprintln!("{}", cluster.tails(40));
            resume_unwind(panic);
        }
    }
}

/// A runtime for a client of the library.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?)
}

/// A client of the library that knows all nodes.
pub(crate) async fn connect(cluster: &Cluster) -> Result<Client> {
    let client = Client::builder()
        .servers(cluster.addresses())
        .credentials(Credentials::from_dir_client(&cluster.pki(), "admin")?)
        .timeout(CALL_TIMEOUT);
    client.connect().await.context("a client does not connect")
}

/// Copies a directory with everything in it.
pub(crate) fn copy_directory(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_directory(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// The line with which hostd says why it ended; empty when it does not.
pub(crate) fn reason(log: &str) -> &str {
    log.lines()
        .rfind(|line| line.starts_with("hostd: "))
        .unwrap_or_default()
}
