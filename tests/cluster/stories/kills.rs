//! SIGKILL in the middle of a load.

use crate::support::{Load, story};

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
