//! Stops in order, restarts, and a leader that is frozen for a while.

use std::time::Duration;

use anyhow::ensure;
use cluster_tests::{PATIENCE, Signal, wait_for};

use crate::support::{Load, story};

#[test]
fn a_rolling_restart_under_load_is_not_noticed() {
    story(3, |cluster| {
        let load = Load::start(cluster)?;
        for id in cluster.ids() {
            load.wait_for_more(200)?;
            cluster.node(id)?.stop(PATIENCE)?;
            load.wait_for_more(100)?;
            cluster.restart(id)?;
            cluster.wait_voters(3)?;
        }
        load.wait_for_more(100)?;
        let record = load.stop()?;
        record.check(cluster)
    });
}

#[test]
fn sigterm_hands_leadership_over_first() {
    story(3, |cluster| {
        let load = Load::start(cluster)?;
        load.wait_for_more(200)?;
        let leader = cluster.wait_leader()?;
        let other = cluster.follower()?;
        cluster.node(leader)?.stop(PATIENCE)?;
        // At once: had the leader just ended, the others would believe in it for a while.
        let rows = cluster.status_at(other)?;
        let next = rows.iter().find(|row| row.leader).map(|row| row.id);
        ensure!(
            next.is_some_and(|next| next != leader),
            "{leader} stopped, and {next:?} leads"
        );
        load.wait_for_more(200)?;
        let record = load.stop()?;
        cluster.restart(leader)?;
        cluster.wait_voters(3)?;
        record.check(cluster)
    });
}

#[test]
fn sigint_stops_a_node_too() {
    story(1, |cluster| {
        cluster.node(1)?.signal(Signal::Int)?;
        let code = cluster.node(1)?.wait_exit(PATIENCE)?;
        ensure!(code == Some(0), "SIGINT ended it with {code:?}");
        Ok(())
    });
}

#[test]
fn a_node_that_still_waits_to_join_stops_in_order() {
    story(0, |cluster| {
        let mut launch = cluster.launch(1)?;
        launch.join = vec![cluster_tests::free_address()?.to_string()];
        let node = cluster.spawn(launch)?;
        wait_for("it says that it waits", PATIENCE, || {
            node.log_since_start().contains("still waiting")
        })?;
        node.signal(Signal::Term)?;
        let code = node.wait_exit(PATIENCE)?;
        ensure!(code == Some(0), "SIGTERM ended it with {code:?}");
        Ok(())
    });
}

#[test]
fn a_leader_that_was_frozen_gives_out_nothing_twice() {
    story(3, |cluster| {
        let load = Load::start(cluster)?;
        load.wait_for_more(200)?;
        let leader = cluster.wait_leader()?;
        cluster.node(leader)?.signal(Signal::Stop)?;
        let others: Vec<u64> = cluster
            .ids()
            .into_iter()
            .filter(|id| *id != leader)
            .collect();
        wait_for("another leader", PATIENCE, || {
            let leads = |row: &cluster_tests::Row| row.leader && row.id != leader;
            others.iter().any(|&id| {
                cluster
                    .status_at(id)
                    .is_ok_and(|rows| rows.iter().any(leads))
            })
        })?;
        load.wait_for_more(200)?;
        cluster.node(leader)?.signal(Signal::Continue)?;
        load.wait_for_more(200)?;
        let record = load.stop()?;
        cluster.wait_voters(3)?;
        record.check(cluster)
    });
}

#[test]
fn a_restart_of_all_keeps_everything_and_the_cluster() {
    story(3, |cluster| {
        cluster.hostctl().call(&["set", "greeting", "hello"])?;
        let before = ready_cluster(cluster)?;
        cluster.stop()?;
        for id in cluster.ids() {
            cluster.node(id)?.spawn()?;
        }
        cluster.wait_voters(3)?;
        let value = cluster.hostctl().call(&["get", "greeting"])?;
        ensure!(value == "hello", "the value is {value:?}");
        let after = ready_cluster(cluster)?;
        ensure!(before == after, "cluster {before} became {after}");
        Ok(())
    });
}

/// The cluster's identity in the ready line of node 1.
fn ready_cluster(cluster: &mut cluster_tests::Cluster) -> anyhow::Result<String> {
    let line = cluster.node(1)?.wait_ready(PATIENCE)?;
    let identity = line
        .split_once(" cluster=")
        .map(|(_, identity)| identity.to_owned());
    identity.ok_or_else(|| anyhow::anyhow!("no cluster in {line:?}"))
}

#[test]
fn a_node_stops_in_order_while_it_has_no_quorum() {
    story(3, |cluster| {
        cluster.node(2)?.kill()?;
        cluster.node(3)?.kill()?;
        // Twice the grace that hostd gives, and some.
        cluster.node(1)?.stop(Duration::from_secs(30))
    });
}
