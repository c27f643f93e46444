//! hostd itself is upgraded, node by node. The old one here is this one, told to know no newer rules
//! than one before the newest.

use anyhow::{Context as _, Result, ensure};
use cluster_tests::{Cluster, Launch, PATIENCE};
use serde_json::Value;

use crate::support::{Load, reason, story};

/// The versions of the rules before the newest one, and the newest, from what a node can honour.
fn two_newest(cluster: &Cluster) -> Result<[u64; 2]> {
    let status = cluster.hostctl().json(&["status"])?;
    let honours = status[0]["honours"].as_array().context("no honours")?;
    let rules: Vec<u64> = honours
        .iter()
        .filter_map(|one| one["rules"].as_u64())
        .collect();
    rules
        .last_chunk()
        .copied()
        .context("there are no older rules to upgrade from")
}

/// The rules in force, as each node that answers has them.
fn rules(cluster: &Cluster) -> Result<Vec<u64>> {
    let status: Value = cluster.hostctl().json(&["status"])?;
    let rows = status.as_array().context("no rows")?;
    Ok(rows
        .iter()
        .filter_map(|row| row["engine"]["rules"].as_u64())
        .collect())
}

fn as_old(launch: &mut Launch, old: u64) {
    launch.flags = vec!["--rules-max".into(), old.to_string()];
}

#[test]
fn a_cluster_is_upgraded_node_by_node_and_then_follows_newer_rules() {
    story(0, |cluster| {
        // What this hostd knows, from one that is thrown away.
        let launch = cluster.launch(9)?;
        cluster.start(launch)?;
        let [old, new] = two_newest(cluster)?;
        cluster.node(9)?.stop(PATIENCE)?;
        cluster.forget(9);

        for id in 1..=3 {
            let mut launch = cluster.launch(id)?;
            launch.join = cluster.addresses();
            as_old(&mut launch, old);
            cluster.start(launch)?;
        }
        cluster.wait_voters(3)?;
        let load = Load::start(cluster)?;
        load.wait_for_more(100)?;
        for id in 1..=3 {
            ensure!(rules(cluster)? == [old; 3], "{:?}", rules(cluster)?);
            cluster.node(id)?.stop(PATIENCE)?;
            load.wait_for_more(100)?;
            cluster.node(id)?.launch.flags.clear();
            cluster.restart(id)?;
            cluster.wait_voters(3)?;
            load.wait_for_more(100)?;
            if id < 3 {
                let told = cluster.hostctl().ok(["status"])?;
                let says = format!("rules {old} are in force; {new} follow");
                ensure!(told.contains(&says), "{told}");
            }
        }
        let patience = std::time::Instant::now();
        while rules(cluster)? != [new; 3] {
            ensure!(patience.elapsed() < PATIENCE, "{:?}", rules(cluster)?);
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        load.wait_for_more(100)?;

        // Back to the old one is no way: it says why it does not start, and nothing is lost.
        cluster.node(2)?.stop(PATIENCE)?;
        as_old(&mut cluster.node(2)?.launch, old);
        let node = cluster.node(2)?;
        node.spawn()?;
        let code = node.wait_exit(PATIENCE)?;
        let log = node.log_since_start();
        let why = reason(&log);
        ensure!(
            code == Some(1)
                && why.contains(&format!("rules {new}"))
                && why.contains("Start the hostd"),
            "it ended with {code:?} and says: {why}"
        );
        cluster.node(2)?.launch.flags.clear();
        cluster.restart(2)?;
        cluster.wait_voters(3)?;
        load.wait_for_more(100)?;
        let record = load.stop()?;
        record.check(cluster)
    });
}
