//! Components that are made to harm the nodes, and uploads that are.

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use cluster_tests::Cluster;
use hostd_client::{CallError, Client, Reply};
use hostd_protocol::{PluginChange, RejectionCode, UPLOAD_CHUNK_BYTES};
use tokio::task::JoinSet;

use crate::costly;
use crate::live_plugins::{file_ok, fixture, plugin};
use crate::support::{Load, connect, runtime, story};

/// The most memory that a node may have had, whatever was uploaded.
const MEMORY_KIB_MAX: u64 = 700 << 10;

/// Uploads that are begun and never ended, and the clients that do so.
const UPLOADS: usize = 1_000;
const CLIENTS: usize = 20;

/// As many uploads as may be under way, by default.
const UPLOADS_MAX: usize = 8;

fn write(cluster: &Cluster, name: &str, content: &[u8]) -> Result<PathBuf> {
    let file = cluster.directory().join(format!("{name}.wasm"));
    std::fs::write(&file, content)?;
    Ok(file)
}

fn ensure_small(cluster: &Cluster) -> Result<()> {
    for node in cluster.nodes() {
        let peak = node.peak_memory_kib()?;
        println!("node {}: {} MiB at most", node.launch.id, peak >> 10);
        ensure!(peak < MEMORY_KIB_MAX, "a node had {peak} KiB");
    }
    Ok(())
}

/// A plugin whose `query` has another name.
fn of_another_world() -> Result<Vec<u8>> {
    let mut bytes = std::fs::read(fixture("ticket")?)?;
    for at in 0..bytes.len() - 5 {
        // The export, in the component and in what it is made of.
        if bytes[at..].starts_with(b"query") {
            bytes[at..at + 5].copy_from_slice(b"quest");
        }
    }
    Ok(bytes)
}

#[test]
fn components_that_explode_are_refused_and_nobody_notices() {
    story(3, |cluster| {
        let load = Load::start(cluster)?;
        for (name, component) in costly::bombs() {
            let file = write(cluster, name, &component)?;
            let bytes = component.len();
            let answer = plugin(cluster, &["install", &file.to_string_lossy()])?;
            println!("{name}, {bytes} bytes: {}", answer.stderr);
            ensure!(
                answer.code == Some(3) && answer.stderr.starts_with("invalid_argument: "),
                "{name}: {answer:?}"
            );
            load.wait_for_more(10)?;
        }
        let file = write(cluster, "world", &of_another_world()?)?;
        let answer = plugin(cluster, &["install", &file.to_string_lossy()])?;
        ensure!(answer.code == Some(3), "{answer:?}");
        ensure_small(cluster)?;
        load.stop()?.check(cluster)
    });
}

#[test]
fn a_component_that_compiles_slowly_holds_nobody_up() {
    story(3, |cluster| {
        let load = Load::crowd(cluster)?;
        let tally = std::fs::read(fixture("tally")?)?;
        let slow = costly::beside(&tally, &costly::slow());
        let file = write(cluster, "slow", &slow)?;
        let told = file_ok(cluster, "install", &file)?;
        // On a busy machine the client asks a second time, and is told what the first time did.
        let done = ["installed: tally 1.0.0", "tally 1.0.0 runs already"];
        ensure!(done.contains(&&*told), "{told}");
        load.wait_for_more(10)?;
        ensure!(cluster.hostctl().call(&["count", "a", "1"])? == "1");
        ensure_small(cluster)?;
        load.stop()?.check(cluster)
    });
}

/// What came of an upload's beginning.
async fn begin_upload(client: Client, number: usize) -> Result<bool> {
    let bytes = vec![number as u8; UPLOAD_CHUNK_BYTES];
    // A digest of its own for every upload; nothing has it.
    let mut digest = [7; 32];
    digest[..8].copy_from_slice(&number.to_be_bytes());
    let change = PluginChange::Upload {
        digest,
        total: 16 << 20,
        offset: 0,
        bytes,
    };
    match client.change_plugins(change).await {
        Ok(Reply::Integer(received)) => Ok(received == UPLOAD_CHUNK_BYTES as i64),
        Ok(other) => bail!("an upload was answered with {other:?}"),
        Err(CallError::Rejected(rejection)) if rejection.code == RejectionCode::NoSpace => {
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

#[test]
fn a_thousand_uploads_that_never_end_hold_nobody_up() {
    story(3, |cluster| {
        let load = Load::start(cluster)?;
        let begun = runtime()?.block_on(async {
            let mut clients = Vec::new();
            for _ in 0..CLIENTS {
                clients.push(connect(cluster).await?);
            }
            let mut uploads = JoinSet::new();
            for number in 0..UPLOADS {
                let client = clients[number % CLIENTS].clone();
                uploads.spawn(begin_upload(client, number));
            }
            let mut begun = 0;
            while let Some(upload) = uploads.join_next().await {
                begun += usize::from(upload??);
            }
            for client in clients {
                client.close().await;
            }
            anyhow::Ok(begun)
        })?;
        ensure!(begun == UPLOADS_MAX, "{begun} uploads were begun");
        // One more is refused with what to do; whoever is there goes on.
        let answer = plugin(cluster, &["install", &fixture("tally")?.to_string_lossy()])?;
        ensure!(
            answer.code == Some(7) && answer.stderr.contains("try again in a minute"),
            "{answer:?}"
        );
        load.wait_for_more(10)?;
        ensure_small(cluster)?;
        load.stop()?.check(cluster)
    });
}
