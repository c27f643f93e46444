//! SIGKILL in the middle of a load.

use std::time::Duration;

use anyhow::ensure;
use hostd_client::{Client, Credentials};

use crate::support::{Load, runtime, story};

#[test]
fn the_leader_is_killed_in_mid_load() {
    story(3, |cluster| {
        let load = Load::start(cluster)?;
        load.wait_for_more(300)?;
        let leader = cluster.wait_leader()?;
        cluster.node(leader)?.kill()?;
        load.wait_for_more(300)?;
        cluster.restart(leader)?;
        load.wait_for_more(300)?;
        let record = load.stop()?;
        cluster.wait_voters(3)?;
        record.check(cluster)
    });
}

#[test]
fn a_follower_is_killed_in_mid_load() {
    story(3, |cluster| {
        let load = Load::start(cluster)?;
        load.wait_for_more(300)?;
        let follower = cluster.follower()?;
        cluster.node(follower)?.kill()?;
        load.wait_for_more(300)?;
        cluster.restart(follower)?;
        load.wait_for_more(300)?;
        let record = load.stop()?;
        cluster.wait_voters(3)?;
        record.check(cluster)
    });
}

#[test]
fn all_three_are_killed_in_mid_load() {
    story(3, |cluster| {
        let load = Load::start(cluster)?;
        load.wait_for_more(600)?;
        for id in cluster.ids() {
            cluster.node(id)?.kill()?;
        }
        for id in cluster.ids() {
            cluster.node(id)?.spawn()?;
        }
        cluster.wait_voters(3)?;
        load.wait_for_more(300)?;
        let record = load.stop()?;
        record.check(cluster)
    });
}

#[test]
fn leaders_are_killed_one_after_another() {
    story(3, |cluster| {
        let load = Load::start(cluster)?;
        for _ in 0..4 {
            load.wait_for_more(200)?;
            let leader = cluster.wait_leader()?;
            cluster.node(leader)?.kill()?;
            load.wait_for_more(100)?;
            cluster.restart(leader)?;
            cluster.wait_voters(3)?;
        }
        let record = load.stop()?;
        record.check(cluster)
    });
}

#[test]
fn a_single_node_is_killed_and_has_everything_again() {
    story(1, |cluster| {
        let load = Load::start(cluster)?;
        for _ in 0..3 {
            load.wait_for_more(300)?;
            cluster.node(1)?.kill()?;
            cluster.restart(1)?;
        }
        load.wait_for_more(100)?;
        let record = load.stop()?;
        record.check(cluster)
    });
}

#[test]
fn a_client_that_knows_followers_only_survives_the_leader() {
    story(3, |cluster| {
        let leader = cluster.wait_leader()?;
        let others = cluster.ids().into_iter().filter(|id| *id != leader);
        let followers = others
            .map(|id| cluster.address(id))
            .collect::<Result<Vec<_>, _>>()?;
        runtime()?.block_on(async {
            let client = Client::builder()
                .servers(followers)
                .credentials(Credentials::from_dir_client(&cluster.pki(), "admin")?)
                .timeout(Duration::from_secs(20))
                .connect()
                .await?;
            let ticket = async || -> anyhow::Result<String> {
                let answer = client.call("ticket", [] as [&str; 0]).await?;
                Ok(format!("{answer:?}"))
            };
            let before = ticket().await?;
            cluster.node(leader)?.kill()?;
            let after = ticket().await?;
            ensure!(before != after, "{before} was given out twice");
            Ok(())
        })
    });
}
