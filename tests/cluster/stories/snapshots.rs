//! Nodes that the log alone cannot bring up to date.

use anyhow::{Result, ensure};
use cluster_tests::{CHECKPOINT_PATIENCE, Cluster};

use crate::support::{Load, connect, runtime, story};

/// More than a leader keeps of the log behind a checkpoint.
const WRITTEN_MIB: usize = 48;

/// A state that no node may hold in memory, in values of 1 MiB.
const LARGE_MIB: usize = 320;

/// The most memory that a node may have had when it has received that state.
const MEMORY_KIB_MAX: u64 = 200 << 10;

/// Writes so much, into few keys, that the log's beginning is purged. Each value is an entry.
pub(crate) fn write_much(cluster: &Cluster) -> Result<()> {
    write(cluster, WRITTEN_MIB, 6)
}

/// Writes values of 1 MiB into so many keys.
fn write(cluster: &Cluster, values: usize, keys: usize) -> Result<()> {
    let before = cluster
        .status()?
        .iter()
        .map(|row| row.last_log)
        .max()
        .unwrap_or_default();
    runtime()?.block_on(async {
        let client = connect(cluster).await?;
        for round in 0..values {
            let value = vec![round as u8; 1 << 20];
            let key = format!("large/{}", round % keys);
            client.call("set", [key.as_bytes(), &value]).await?;
        }
        client.close().await;
        anyhow::Ok(())
    })?;
    // Two thirds of it: the newest part of the log is kept in any case.
    let index = before + values as u64 * 2 / 3;
    cluster.wait_status_for(
        CHECKPOINT_PATIENCE,
        "large values are in a checkpoint, and gone from the log",
        |rows| {
            rows.iter()
                .filter(|row| row.reachable)
                .all(|row| row.checkpoint >= index && row.first_log > before + 1)
        },
    )?;
    Ok(())
}

/// The node says that it was given a snapshot.
pub(crate) fn ensure_installed(cluster: &mut Cluster, id: u64) -> Result<()> {
    let log = cluster.node(id)?.log_since_start();
    ensure!(
        log.contains("snapshot"),
        "node {id} did without a snapshot:\n{log}"
    );
    Ok(())
}

#[test]
fn a_node_that_was_away_past_the_purge_gets_a_snapshot() {
    story(3, |cluster| {
        let away = cluster.follower()?;
        cluster.node(away)?.kill()?;
        write_much(cluster)?;
        let load = Load::start(cluster)?;
        cluster.restart(away)?;
        cluster.wait_voters(3)?;
        load.wait_for_more(100)?;
        ensure_installed(cluster, away)?;
        load.stop()?.check(cluster)
    });
}

#[test]
fn a_fresh_node_gets_a_snapshot_and_survives_a_kill_right_after() {
    story(1, |cluster| {
        write_much(cluster)?;
        cluster.grow_to(2)?;
        ensure_installed(cluster, 2)?;
        cluster.node(2)?.kill()?;
        cluster.restart(2)?;
        cluster.wait_voters(2)?;
        let load = Load::start(cluster)?;
        load.wait_for_more(100)?;
        load.stop()?.check(cluster)
    });
}

#[test]
fn a_state_larger_than_memory_may_be_is_sent_and_received() {
    story(1, |cluster| {
        write(cluster, LARGE_MIB, LARGE_MIB)?;
        cluster.grow_to(2)?;
        ensure_installed(cluster, 2)?;
        let peak = cluster.node(2)?.peak_memory_kib()?;
        ensure!(
            peak < MEMORY_KIB_MAX,
            "node 2 had {peak} KiB in memory for a state of {LARGE_MIB} MiB"
        );
        cluster.compare_digests()?;
        Ok(())
    });
}

#[test]
fn a_node_killed_while_it_gets_a_snapshot_gets_it_again() {
    story(1, |cluster| {
        write_much(cluster)?;
        let launch = cluster.launch_joining(2)?;
        cluster.spawn(launch)?;
        for pause_ms in [100, 200, 400, 800] {
            // Not a wait for anything: kills at several instants of the joining.
            std::thread::sleep(std::time::Duration::from_millis(pause_ms));
            cluster.node(2)?.kill()?;
            cluster.node(2)?.spawn()?;
        }
        cluster.wait_voters(2)?;
        let load = Load::start(cluster)?;
        load.wait_for_more(100)?;
        load.stop()?.check(cluster)
    });
}
