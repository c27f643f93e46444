//! What happens when nobody calls.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cluster_tests::{Cluster, PATIENCE, wait_for};

use crate::support::story;

fn last_log(cluster: &Cluster) -> Result<u64> {
    let rows = cluster.status()?;
    rows.iter()
        .map(|row| row.last_log)
        .max()
        .context("no members")
}

#[test]
fn the_log_of_an_idle_cluster_does_not_grow() {
    story(3, |cluster| {
        cluster.hostctl().call(&["set", "k", "v", "EX", "100000"])?;
        let applied = last_log(cluster)?;
        // The checkpoint that covers the last write is the last entry.
        cluster.wait_equal_digests(applied)?;
        let before = last_log(cluster)?;
        std::thread::sleep(Duration::from_secs(10));
        for _ in 0..10 {
            cluster.hostctl().call(&["get", "k"])?;
        }
        let after = last_log(cluster)?;
        ensure!(
            before == after,
            "without a write the log went from {before} to {after}"
        );
        Ok(())
    });
}

#[test]
fn an_expired_key_is_gone_on_every_node() {
    story(3, |cluster| {
        cluster.hostctl().call(&["set", "short", "v", "EX", "1"])?;
        cluster.hostctl().call(&["set", "long", "v"])?;
        for id in cluster.ids() {
            let hostctl = cluster.hostctl_at(id)?;
            let read = |key: &str| hostctl.ok(["call", "--read", "stale", "get", key]);
            wait_for(&format!("the key is gone on node {id}"), PATIENCE, || {
                read("short").is_ok_and(|value| value.is_empty())
            })?;
            wait_for(&format!("the other key is on node {id}"), PATIENCE, || {
                read("long").is_ok_and(|value| value == "v")
            })?;
        }
        ensure!(cluster.hostctl().call(&["dbsize"])? == "1");
        cluster.compare_digests()?;
        Ok(())
    });
}

#[test]
fn a_key_expires_though_all_nodes_were_down_at_its_time() {
    story(3, |cluster| {
        cluster
            .hostctl()
            .call(&["set", "short", "v", "PX", "1500"])?;
        for id in cluster.ids() {
            cluster.node(id)?.kill()?;
        }
        std::thread::sleep(Duration::from_millis(1_600));
        for id in cluster.ids() {
            cluster.node(id)?.spawn()?;
        }
        cluster.wait_voters(3)?;
        wait_for("the key is gone", PATIENCE, || {
            cluster
                .hostctl()
                .call(&["get", "short"])
                .is_ok_and(|value| value.is_empty())
        })?;
        ensure!(cluster.hostctl().call(&["exists", "short"])? == "0");
        Ok(())
    });
}
