//! Nodes that come and go.

use anyhow::{Context as _, Result, ensure};
use cluster_tests::{Cluster, PATIENCE, Row, wait_for};

use crate::support::{Load, story};

fn row(cluster: &Cluster, id: u64) -> Result<Row> {
    let rows = cluster.status()?;
    rows.into_iter()
        .find(|row| row.id == id)
        .with_context(|| format!("node {id} is not a member"))
}

fn wait_role(cluster: &Cluster, id: u64, role: &str) -> Result<()> {
    cluster.wait_status(&format!("node {id} is a {role}"), |rows| {
        rows.iter()
            .any(|row| row.id == id && row.role == role && row.reachable)
    })?;
    Ok(())
}

#[test]
fn a_fourth_node_joins_under_load() {
    story(3, |cluster| {
        let load = Load::start(cluster)?;
        load.wait_for_more(200)?;
        let launch = cluster.launch_joining(4)?;
        cluster.start(launch)?;
        cluster.wait_voters(4)?;
        load.wait_for_more(200)?;
        let record = load.stop()?;
        record.check(cluster)
    });
}

#[test]
fn a_dead_node_is_replaced_by_a_new_one_under_load() {
    story(3, |cluster| {
        let load = Load::start(cluster)?;
        load.wait_for_more(200)?;
        let dead = cluster.follower()?;
        cluster.forget(dead);
        load.wait_for_more(100)?;
        cluster
            .hostctl()
            .ok(["member", "remove", &dead.to_string()])?;
        let launch = cluster.launch_joining(4)?;
        cluster.start(launch)?;
        let rows = cluster.wait_voters(3)?;
        ensure!(
            rows.iter().all(|row| row.id != dead),
            "node {dead} is still a member"
        );
        load.wait_for_more(100)?;
        let record = load.stop()?;
        record.check(cluster)
    });
}

#[test]
fn a_node_is_added_while_it_starts() {
    story(2, |cluster| {
        let launch = cluster.launch_joining(3)?;
        let (hostctl, address) = (cluster.hostctl().timeout("30s"), launch.address());
        // It waits for the node: only that knows its own incarnation.
        let adding = std::thread::spawn(move || hostctl.ok(["member", "add", "3", &address]));
        cluster.start(launch)?;
        adding.join().expect("no panic")?;
        cluster.wait_voters(3)?;
        Ok(())
    });
}

#[test]
fn a_node_that_is_not_there_is_not_added() {
    story(1, |cluster| {
        let nowhere = cluster_tests::free_address()?.to_string();
        let hostctl = cluster.hostctl().timeout("2s");
        let answer = hostctl.run(["member", "add", "2", &nowhere])?;
        ensure!(answer.code == Some(7), "{answer:?}");
        ensure!(cluster.status()?.len() == 1, "it was added");
        ensure!(cluster.hostctl().call(&["ticket"])? == "1");
        Ok(())
    });
}

#[test]
fn a_demoted_voter_stays_a_learner_until_it_is_promoted() {
    story(4, |cluster| {
        let hostctl = cluster.hostctl();
        hostctl.ok(["member", "demote", "4"])?;
        wait_role(cluster, 4, "learner")?;
        hostctl.call(&["set", "k", "v"])?;
        // It replicates, it answers, and it does not vote.
        ensure!(cluster.hostctl_at(4)?.call(&["get", "k"])? == "v");
        ensure!(
            row(cluster, 4)?.role == "learner",
            "it became a voter by itself"
        );
        cluster.node(4)?.stop(PATIENCE)?;
        cluster.restart(4)?;
        wait_role(cluster, 4, "learner")?;
        cluster.hostctl().ok(["member", "promote", "4"])?;
        cluster.wait_voters(4)?;
        Ok(())
    });
}

#[test]
fn a_leader_that_is_demoted_hands_over() {
    story(3, |cluster| {
        let load = Load::start(cluster)?;
        let leader = cluster.wait_leader()?;
        cluster
            .hostctl()
            .ok(["member", "demote", &leader.to_string()])?;
        wait_role(cluster, leader, "learner")?;
        load.wait_for_more(100)?;
        let record = load.stop()?;
        cluster
            .hostctl()
            .ok(["member", "promote", &leader.to_string()])?;
        cluster.wait_voters(3)?;
        record.check(cluster)
    });
}

#[test]
fn a_learner_that_lags_is_not_promoted() {
    story(4, |cluster| {
        cluster.hostctl().ok(["member", "demote", "4"])?;
        wait_role(cluster, 4, "learner")?;
        cluster.node(4)?.kill()?;
        let hostctl = cluster.hostctl();
        for number in 0..100 {
            hostctl.call(&["set", "k", &number.to_string()])?;
        }
        hostctl
            .run(["member", "promote", "4"])?
            .refused(3, "invalid_argument")?;
        cluster.restart(4)?;
        wait_for("it can be promoted", PATIENCE, || {
            hostctl.ok(["member", "promote", "4"]).is_ok()
        })?;
        cluster.wait_voters(4)?;
        Ok(())
    });
}

#[test]
fn leadership_is_transferred_under_load() {
    story(3, |cluster| {
        let load = Load::start(cluster)?;
        let target = cluster.follower()?;
        let hostctl = cluster.hostctl();
        // On a busy machine an election of its own may come in between.
        wait_for("the one that was named leads", PATIENCE, || {
            let moved = hostctl
                .ok(["member", "transfer", &target.to_string()])
                .is_ok();
            moved && cluster.wait_leader().is_ok_and(|leader| leader == target)
        })?;
        load.wait_for_more(100)?;
        wait_for("another one leads", PATIENCE, || {
            let before = cluster.wait_leader().ok();
            let moved = hostctl.ok(["member", "transfer"]).is_ok();
            moved && cluster.wait_leader().ok() != before
        })?;
        load.wait_for_more(100)?;
        let record = load.stop()?;
        cluster.wait_voters(3)?;
        record.check(cluster)
    });
}

#[test]
fn a_removed_node_does_not_count_any_more() {
    story(3, |cluster| {
        let removed = cluster.follower()?;
        cluster
            .hostctl()
            .ok(["member", "remove", &removed.to_string()])?;
        let rows = cluster.wait_voters(2)?;
        ensure!(rows.len() == 2, "{rows:?}");
        let others: Vec<u64> = cluster
            .ids()
            .into_iter()
            .filter(|id| *id != removed)
            .collect();
        cluster.hostctl_at(others[0])?.call(&["set", "k", "v"])?;
        // One of two voters is no majority, whoever else still runs.
        cluster.node(others[1])?.kill()?;
        let answer = cluster
            .hostctl_at(others[0])?
            .run(["call", "set", "k", "w"])?;
        ensure!(
            answer.code == Some(7),
            "a removed node helped to decide: {answer:?}"
        );
        cluster.restart(others[1])?;
        cluster.node(removed)?.kill()?;
        cluster
            .hostctl_at(others[0])?
            .timeout("20s")
            .call(&["set", "k", "x"])?;
        ensure!(cluster.hostctl_at(others[1])?.call(&["get", "k"])? == "x");
        Ok(())
    });
}

#[test]
fn the_leader_removes_itself() {
    story(3, |cluster| {
        let load = Load::start(cluster)?;
        load.wait_for_more(100)?;
        let leader = cluster.wait_leader()?;
        cluster
            .hostctl()
            .ok(["member", "remove", &leader.to_string()])?;
        load.wait_for_more(100)?;
        cluster.forget(leader);
        cluster.wait_voters(2)?;
        load.wait_for_more(100)?;
        let record = load.stop()?;
        record.check(cluster)
    });
}

#[test]
fn members_are_listed_by_every_node() {
    story(3, |cluster| {
        for id in cluster.ids() {
            let members = cluster.hostctl_at(id)?.json(&["member", "list"])?;
            let members = members.as_array().context("not an array")?;
            let ids: Vec<_> = members
                .iter()
                .filter_map(|member| member["id"].as_u64())
                .collect();
            ensure!(ids == [1, 2, 3], "node {id} lists {ids:?}");
            let leaders = members
                .iter()
                .filter(|member| member["leader"] == true)
                .count();
            ensure!(leaders == 1, "node {id} lists {leaders} leaders");
        }
        Ok(())
    });
}

#[test]
fn what_cannot_be_done_to_a_membership_is_refused() {
    story(1, |cluster| {
        let hostctl = cluster.hostctl();
        hostctl
            .run(["member", "promote", "9"])?
            .refused(3, "invalid_argument")?;
        // The last voter.
        hostctl
            .run(["member", "remove", "1"])?
            .refused(3, "invalid_argument")?;
        hostctl
            .run(["member", "demote", "1"])?
            .refused(3, "invalid_argument")?;
        ensure!(hostctl.call(&["ticket"])? == "1");
        Ok(())
    });
}
