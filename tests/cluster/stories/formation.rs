//! How nodes come to be a cluster.

use anyhow::{Context as _, Result, ensure};
use cluster_tests::{Cluster, Launch, PATIENCE};

use crate::support::story;

#[test]
fn one_node_on_an_empty_directory_is_a_working_cluster() {
    story(0, |cluster| {
        let launch = cluster.launch(1)?;
        let ready = cluster.start(launch.clone())?;
        let expected = format!("ready node=1 listen={} cluster=", launch.listen);
        ensure!(ready.starts_with(&expected), "the ready line is {ready:?}");
        ensure!(cluster.hostctl().call(&["ticket"])? == "1");
        ensure!(cluster.hostctl().call(&["ticket"])? == "2");
        Ok(())
    });
}

#[test]
fn every_node_takes_every_call() {
    story(3, |cluster| {
        for (id, ticket) in cluster.ids().into_iter().zip(["1", "2", "3"]) {
            let got = cluster.hostctl_at(id)?.call(&["ticket"])?;
            ensure!(got == ticket, "node {id} gave ticket {got}, not {ticket}");
        }
        for writer in cluster.ids() {
            let value = format!("by {writer}");
            cluster.hostctl_at(writer)?.call(&["set", "k", &value])?;
            for reader in cluster.ids() {
                let read = cluster.hostctl_at(reader)?.call(&["get", "k"])?;
                ensure!(read == value, "node {reader} read {read:?} after {value:?}");
            }
        }
        Ok(())
    });
}

#[test]
fn a_node_joins_through_a_follower_and_votes_by_itself() {
    story(2, |cluster| {
        let mut launch = cluster.launch(3)?;
        launch.join = vec![cluster.address(cluster.follower()?)?];
        cluster.start(launch)?;
        cluster.wait_voters(3)?;
        ensure!(cluster.hostctl_at(3)?.call(&["ticket"])? == "1");
        Ok(())
    });
}

#[test]
fn the_addresses_to_join_may_be_partly_dead() {
    story(1, |cluster| {
        let mut launch = cluster.launch_joining(2)?;
        launch
            .join
            .insert(0, cluster_tests::free_address()?.to_string());
        cluster.start(launch)?;
        cluster.wait_voters(2)?;
        Ok(())
    });
}

#[test]
fn a_node_whose_member_is_not_there_yet_waits_and_says_so() {
    story(0, |cluster| {
        let founder = cluster.launch(1)?;
        let mut launch = cluster.launch(2)?;
        launch.join = vec![founder.address()];
        let node = cluster.spawn(launch)?;
        let address = founder.address();
        cluster_tests::wait_for("it says whom it cannot reach", PATIENCE, || {
            node.log_since_start().contains(&address)
        })?;
        ensure!(node.exit_code().is_none(), "it gave up");
        ensure!(node.ready_line().is_none(), "it is ready without a cluster");
        cluster.start(founder)?;
        cluster.node(2)?.wait_ready(PATIENCE)?;
        cluster.wait_voters(2)?;
        Ok(())
    });
}

/// Starts nodes in this order, all with the same list.
fn form(cluster: &mut Cluster, order: [u64; 3]) -> Result<()> {
    let mut launches: Vec<Launch> = (1..=3)
        .map(|id| cluster.launch(id))
        .collect::<Result<_>>()?;
    let all: Vec<String> = launches.iter().map(Launch::address).collect();
    for launch in &mut launches {
        launch.join.clone_from(&all);
        launch.bootstrap_expect = Some(3);
    }
    let (last, first) = order.split_last().context("three nodes")?;
    for id in first {
        let launch = launches[*id as usize - 1].clone();
        let node = cluster.spawn(launch)?;
        ensure!(node.exit_code().is_none(), "node {id} gave up");
    }
    cluster.start(launches[*last as usize - 1].clone())?;
    let mut identities = Vec::new();
    for id in order {
        let ready = cluster.node(id)?.wait_ready(PATIENCE)?;
        identities.push(
            ready
                .split_once("cluster=")
                .context("no cluster in the line")?
                .1
                .to_owned(),
        );
    }
    ensure!(
        identities.iter().all(|identity| *identity == identities[0]),
        "{identities:?}"
    );
    cluster.wait_voters(3)?;
    ensure!(cluster.hostctl().call(&["ticket"])? == "1");
    Ok(())
}

#[test]
fn three_nodes_with_the_same_list_form_a_cluster() {
    story(0, |cluster| form(cluster, [1, 2, 3]));
}

#[test]
fn three_nodes_with_the_same_list_form_a_cluster_in_any_order() {
    story(0, |cluster| form(cluster, [3, 1, 2]));
}

#[test]
fn a_second_founding_does_not_happen_after_a_restart() {
    story(0, |cluster| {
        form(cluster, [2, 3, 1])?;
        cluster.stop()?;
        for id in cluster.ids() {
            cluster.node(id)?.spawn()?;
        }
        cluster.wait_voters(3)?;
        ensure!(cluster.hostctl().call(&["ticket"])? == "2");
        Ok(())
    });
}
