//! What a command computes with, besides its arguments: the same on every node, and after replay.

use anyhow::{Context as _, Result, ensure};
use cluster_tests::{Artifacts, Clocks, Cluster, PATIENCE, wait_for_value};

use crate::support::{Resp, story};

/// The fixture that shows both.
const PLUGIN: &str = "chance";

const HOUR_MS: i64 = 3_600_000;

fn install(cluster: &Cluster) -> Result<()> {
    let file = Artifacts::locate()?.plugin(PLUGIN)?;
    let hostctl = cluster.hostctl();
    hostctl.ok(["plugin", "install", &file.to_string_lossy()])?;
    Ok(())
}

/// Times of so many writes by way of one node, which has to answer again after a failover.
fn stamps(client: &mut Resp, count: usize) -> Result<Vec<i64>> {
    let mut stamps = Vec::new();
    while stamps.len() < count {
        let stamp = wait_for_value("a write is answered", PATIENCE, || {
            let answer = client.ask(&["stamp"]).ok()?;
            answer.strip_prefix(':')?.parse().ok()
        })?;
        stamps.push(stamp);
    }
    Ok(stamps)
}

#[test]
fn replicated_clock() {
    // The simulator and the nemesis set clocks too; this is about an hour, and every single stamp.
    let directory = tempfile::tempdir().expect("there is room");
    let Some(clocks) = Clocks::find(directory.path()) else {
        eprintln!("skipped: libfaketime is missing; `apt-get install faketime` brings it");
        return;
    };
    story(0, |cluster| {
        for id in 1..=3 {
            let mut launch = cluster.launch_joining(id)?;
            launch.through = clocks.through(id)?;
            cluster.start(launch)?;
        }
        cluster.wait_voters(3)?;
        install(cluster)?;
        let leader = cluster.wait_leader()?;
        let mut client = Resp::to(cluster, cluster.follower()?)?;
        let mut all = stamps(&mut client, 250)?;
        // The leader's clock, and then those of whoever comes after it.
        clocks.set(leader, -HOUR_MS)?;
        all.extend(stamps(&mut client, 250)?);
        for id in cluster.ids() {
            clocks.set(id, -HOUR_MS)?;
        }
        cluster.node(leader)?.kill()?;
        all.extend(stamps(&mut client, 500)?);
        cluster.restart(leader)?;
        all.extend(stamps(&mut client, 250)?);
        for pair in all.windows(2) {
            ensure!(pair[0] < pair[1], "{} comes before {}", pair[0], pair[1]);
        }
        Ok(())
    });
}

#[test]
fn replicated_random_numbers() {
    story(3, |cluster| {
        install(cluster)?;
        let mut client = Resp::to(cluster, cluster.follower()?)?;
        for _ in 0..20 {
            let answer = client.ask(&["draw", "10"])?;
            ensure!(answer == "nil" || answer == "+OK", "{answer}");
        }
        let first = drawn(cluster)?;
        let mut different = first.clone();
        different.sort_unstable();
        different.dedup();
        ensure!(different.len() == 200, "{} of 200 differ", different.len());

        // What was drawn since the last checkpoint is drawn again.
        for id in cluster.ids() {
            cluster.node(id)?.kill()?;
        }
        for id in cluster.ids() {
            cluster.node(id)?.spawn()?;
        }
        cluster.wait_voters(3)?;
        ensure!(drawn(cluster)? == first, "a restart changed what was drawn");
        Resp::to(cluster, cluster.follower()?)?.ask(&["draw", "1"])?;
        ensure!(
            drawn(cluster)?.len() == 201,
            "a node draws no more after its restart"
        );
        Ok(())
    });
}

/// What was drawn, as each node says of its own state once that is equal.
fn drawn(cluster: &Cluster) -> Result<Vec<String>> {
    let all = cluster.hostctl().json(&["call", "drawn"])?;
    let all: Vec<String> = serde_json::from_value(all)?;
    for id in cluster.ids() {
        let hostctl = cluster.hostctl_directly_at(id)?;
        let own = wait_for_value("a node has applied everything", PATIENCE, || {
            let own = hostctl.json(&["call", "--read", "stale", "drawn"]).ok()?;
            let own: Vec<String> = serde_json::from_value(own).ok()?;
            (own.len() == all.len()).then_some(own)
        })
        .with_context(|| format!("node {id}"))?;
        ensure!(own == all, "node {id} drew something else");
    }
    Ok(all)
}
