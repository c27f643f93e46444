//! `hostctl verify`: the states of all nodes at one checkpoint, read from their disks.

use anyhow::{Context as _, Result, ensure};
use cluster_tests::{Answer, PATIENCE};
use serde_json::Value;

use crate::support::{Load, make_wrong, set, story};

fn found(answer: &Answer) -> Result<Value> {
    serde_json::from_str(&answer.stdout).with_context(|| format!("not JSON: {answer:?}"))
}

fn node(verified: &Value, id: u64) -> Result<&Value> {
    let nodes = verified["nodes"].as_array().context("no nodes")?;
    let node = nodes.iter().find(|node| node["id"] == id);
    node.with_context(|| format!("node {id} is not told: {verified}"))
}

#[test]
fn healthy_nodes_agree_under_load() {
    story(3, |cluster| {
        let load = Load::start(cluster)?;
        load.wait_for_more(100)?;
        let mut last = 0;
        for id in cluster.ids() {
            let hostctl = cluster.hostctl_directly_at(id)?;
            let verified = hostctl.json(&["verify"])?;
            ensure!(verified["majority"] == true, "{verified}");
            // Made for this question, whoever is asked.
            let checkpoint = verified["checkpoint"].as_u64().context("an index")?;
            ensure!(checkpoint > last, "{verified}");
            last = checkpoint;
            let first = node(&verified, 1)?;
            for id in 1..=3 {
                let node = node(&verified, id)?;
                ensure!(node["verdict"] == "agrees", "{verified}");
                ensure!(node["rows"].as_u64() > Some(3), "{verified}");
                ensure!(node["digest"] == first["digest"], "{verified}");
                ensure!(node["digest"] == node["kept"], "{verified}");
            }
            load.wait_for_more(20)?;
        }
        let text = cluster.hostctl().ok(["verify"])?;
        ensure!(text.lines().count() == 4, "{text}");
        ensure!(text.matches("agrees").count() == 3, "{text}");
        let record = load.stop()?;
        record.check(cluster)
    });
}

#[test]
fn a_wrong_node_and_the_first_differing_key_are_named() {
    story(3, |cluster| {
        cluster.hostctl().call(&["set", "right everywhere", "1"])?;
        cluster.hostctl().call(&["set", "shared key", "right"])?;
        cluster.compare_digests()?;
        let wrong = cluster.follower()?;
        make_wrong(cluster, wrong, set("shared key", "wrong"))?;
        for id in cluster.ids() {
            // The wrong one itself tells the same, quarantined or not.
            let hostctl = cluster.hostctl_directly_at(id)?;
            let answer = hostctl.run(["verify", "-o", "json"])?;
            let verified = found(&answer)?;
            let told = answer.refused(4, "differs")?;
            ensure!(told.contains(&format!("node {wrong},")), "{told}");
            ensure!(verified["majority"] == true, "{verified}");
            for id in 1..=3 {
                let expected = if id == wrong { "differs" } else { "agrees" };
                ensure!(node(&verified, id)?["verdict"] == expected, "{verified}");
            }
            let node = node(&verified, wrong)?;
            let first = &node["differences"][0];
            ensure!(first["table"] == "data", "{verified}");
            ensure!(first["plugin"] == "kv", "{verified}");
            let key = first["key"].as_str().context("a key")?;
            ensure!(key.contains("shared key"), "{verified}");
            ensure!(first["kind"] == "value", "{verified}");
            ensure!(
                first["here"].as_u64() > first["there"].as_u64(),
                "{verified}"
            );
        }
        let text = cluster.hostctl().run(["verify"])?;
        ensure!(text.stdout.contains("shared key"), "{text:?}");
        ensure!(text.stdout.contains("other value"), "{text:?}");
        let healthy = |rows: &[cluster_tests::Row]| {
            let row = |row: &cluster_tests::Row| row.id == wrong && row.health == "quarantined";
            rows.iter().any(row)
        };
        cluster.wait_status("the node is quarantined", healthy)?;
        let answer = cluster.hostctl().run(["verify"])?;
        answer.refused(4, "differs")?;
        Ok(())
    });
}

#[test]
fn a_node_that_is_down_is_named_and_the_others_compared() {
    story(3, |cluster| {
        cluster.hostctl().call(&["set", "k", "v"])?;
        let down = cluster.follower()?;
        cluster.node(down)?.stop(PATIENCE)?;
        let answer = cluster.hostctl().run(["verify", "-o", "json"])?;
        let verified = found(&answer)?;
        let told = answer.refused(7, "timeout")?;
        ensure!(told.contains(&format!("node {down} ")), "{told}");
        for id in 1..=3 {
            let expected = if id == down { "unreachable" } else { "agrees" };
            ensure!(node(&verified, id)?["verdict"] == expected, "{verified}");
        }
        cluster.restart(down)?;
        cluster.wait_voters(3)?;
        cluster.hostctl().ok(["verify"])?;
        Ok(())
    });
}
