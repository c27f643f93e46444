//! Nodes that cannot go on with their data, each mended by one command while the others serve:
//! start it again with `--recover`.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use cluster_tests::{Cluster, PATIENCE};
use hostd_protocol::Command;

use crate::support::{Load, make_wrong, reason, story};

/// Where the data of a node is that was set aside.
fn aside(cluster: &mut Cluster, id: u64, number: u32) -> Result<PathBuf> {
    let directory = cluster.node(id)?.launch.directory();
    Ok(directory.with_extension(format!("set-aside-{number}")))
}

fn start_with_recover(cluster: &mut Cluster, id: u64) -> Result<String> {
    let node = cluster.node(id)?;
    node.launch.flags = vec!["--recover".into()];
    node.spawn()?;
    node.wait_ready(PATIENCE)?;
    Ok(node.log_since_start())
}

/// One command, and the node is a voter in good health with the same state as the others. Its old
/// data is still there, and it says where.
fn recover(cluster: &mut Cluster, id: u64) -> Result<()> {
    let log = start_with_recover(cluster, id)?;
    let aside = aside(cluster, id, 1)?;
    ensure!(aside.join("log").with_extension("redb").exists());
    ensure!(
        log.contains(&aside.display().to_string()) && log.contains("may be deleted"),
        "it does not say where its old data is: {log}"
    );
    cluster.wait_voters(3)?;
    cluster.compare_digests()?;
    // It needs the flag no more, and keeps its number.
    let node = cluster.node(id)?;
    node.launch.flags.clear();
    node.stop(PATIENCE)?;
    cluster.restart(id)?;
    cluster.wait_voters(3)?;
    Ok(())
}

fn ruin(path: &Path) -> Result<()> {
    let mut bytes = std::fs::read(path)?;
    bytes[..64].fill(0);
    Ok(std::fs::write(path, bytes)?)
}

fn ensure_refused_without_the_flag(cluster: &mut Cluster, id: u64) -> Result<()> {
    let node = cluster.node(id)?;
    node.spawn()?;
    let code = node.wait_exit(PATIENCE)?;
    let log = node.log_since_start();
    ensure!(code == Some(1), "it ended with {code:?}: {log}");
    let why = reason(&log);
    ensure!(why.contains("with --recover"), "it says: {why}");
    Ok(())
}

fn damaged_and_recovered(id: u64, file: &'static str) {
    story(3, move |cluster| {
        let load = Load::start(cluster)?;
        load.wait_for_more(100)?;
        cluster.make_checkpoint_due()?;
        let node = cluster.node(id)?;
        node.kill()?;
        ruin(&node.launch.directory().join(file))?;
        ensure_refused_without_the_flag(cluster, id)?;
        load.wait_for_more(100)?;
        recover(cluster, id)?;
        load.wait_for_more(100)?;
        let record = load.stop()?;
        record.check(cluster)
    });
}

#[test]
fn a_node_with_a_damaged_log_recovers_under_load() {
    damaged_and_recovered(2, "log.redb");
}

#[test]
fn the_founder_with_a_damaged_state_knows_whom_to_ask() {
    // Nobody ever told it to join anybody.
    damaged_and_recovered(1, "state.redb");
}

#[test]
fn a_node_that_lost_its_disk_recovers() {
    story(3, |cluster| {
        cluster.hostctl().call(&["set", "k", "v"])?;
        let node = cluster.node(3)?;
        node.kill()?;
        std::fs::remove_dir_all(node.launch.directory())?;
        start_with_recover(cluster, 3)?;
        cluster.wait_voters(3)?;
        cluster.compare_digests()?;
        Ok(())
    });
}

#[test]
fn a_node_that_was_removed_comes_back() {
    story(3, |cluster| {
        cluster.hostctl().ok(["member", "remove", "3"])?;
        cluster.wait_voters(2)?;
        cluster.node(3)?.stop(PATIENCE)?;
        recover(cluster, 3)
    });
}

#[test]
fn sound_data_is_left_alone() {
    story(3, |cluster| {
        cluster.hostctl().call(&["set", "k", "v"])?;
        for id in cluster.ids() {
            cluster.node(id)?.stop(PATIENCE)?;
            let log = start_with_recover(cluster, id)?;
            ensure!(log.contains("nothing is set aside"), "{log}");
            ensure!(!aside(cluster, id, 1)?.exists());
            cluster.wait_voters(3)?;
        }
        ensure!(cluster.hostctl().call(&["get", "k"])? == "v");
        Ok(())
    });
}

#[test]
fn the_only_voter_does_not_give_up_its_data() {
    story(1, |cluster| {
        cluster.hostctl().call(&["set", "k", "v"])?;
        cluster.make_checkpoint_due()?;
        let node = cluster.node(1)?;
        node.stop(PATIENCE)?;
        let state = node.launch.directory().join("state.redb");
        let whole = std::fs::read(&state)?;
        ruin(&state)?;
        let node = cluster.node(1)?;
        node.launch.flags = vec!["--recover".into()];
        node.spawn()?;
        let code = node.wait_exit(PATIENCE)?;
        let log = node.log_since_start();
        ensure!(code == Some(1), "it ended with {code:?}: {log}");
        ensure!(reason(&log).contains("only voter"), "{log}");
        ensure!(!aside(cluster, 1, 1)?.exists());
        std::fs::write(&state, &whole)?;
        cluster.restart(1)?;
        ensure!(cluster.hostctl().call(&["get", "k"])? == "v");
        Ok(())
    });
}

#[test]
fn a_node_whose_state_is_wrong_is_found_and_recovers_under_load() {
    story(3, |cluster| {
        cluster.hostctl().call(&["set", "k", "v"])?;
        cluster.compare_digests()?;
        let wrong = cluster.follower()?;
        let command = Command::OpenSession {
            principal: "nobody".into(),
        };
        make_wrong(cluster, wrong, command)?;

        let load = Load::start(cluster)?;
        let found = |id| {
            move |rows: &[cluster_tests::Row]| {
                rows.iter()
                    .any(|row| row.id == id && row.health == "quarantined" && row.reachable)
            }
        };
        // The digest of one checkpoint travels with the next.
        cluster.make_checkpoint_due()?;
        cluster.make_checkpoint_due()?;
        cluster.wait_status("the node is quarantined", found(wrong))?;
        load.wait_for_more(100)?;
        let rows = cluster.status()?;
        let others = rows.iter().filter(|row| row.id != wrong);
        ensure!(others.clone().count() == 2);
        ensure!(others.clone().all(|row| row.health == "ok"), "{rows:?}");
        // Asked there, another one answers.
        let answer = cluster.hostctl_directly_at(wrong)?.call(&["get", "k"])?;
        ensure!(answer == "v7", "it says {answer}");

        cluster.node(wrong)?.stop(PATIENCE)?;
        recover(cluster, wrong)?;
        load.wait_for_more(100)?;
        let record = load.stop()?;
        record.check(cluster)
    });
}
