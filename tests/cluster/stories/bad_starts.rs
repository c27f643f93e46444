//! Nodes that must not start, and what they say.

use anyhow::{Result, ensure};
use cluster_tests::{Cluster, Launch, PATIENCE};

use crate::support::{copy_directory, reason, story};

/// Starts a node that must end with this exit code, and returns the reason it gave.
fn refused(cluster: &mut Cluster, launch: Launch, exit: i32) -> Result<String> {
    let id = launch.id;
    cluster.spawn(launch)?;
    let node = cluster.node(id)?;
    let code = node.wait_exit(PATIENCE)?;
    let log = node.log_since_start();
    ensure!(code == Some(exit), "it ended with {code:?}:\n{log}");
    ensure!(node.ready_line().is_none(), "it said that it was ready");
    let why = reason(&log).to_owned();
    ensure!(!why.is_empty(), "it gave no reason:\n{log}");
    Ok(why)
}

fn ensure_says(message: &str, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(message.contains(word), "{word:?} is not in: {message}");
    }
    Ok(())
}

/// The cluster serves as if nothing had been tried.
fn ensure_undisturbed(cluster: &Cluster, voters: usize) -> Result<()> {
    cluster.hostctl().call(&["set", "k", "v"])?;
    ensure!(cluster.hostctl().call(&["get", "k"])? == "v");
    let rows = cluster.wait_voters(voters)?;
    ensure!(rows.len() == voters, "there are other members: {rows:?}");
    Ok(())
}

#[test]
fn a_bad_flag_is_refused_with_its_name() {
    story(0, |cluster| {
        for (flags, name) in [
            (&["--bootstrap-expect", "3"][..], "--bootstrap-expect"),
            (&["--join", "nowhere"], "--join"),
            (&["--advertise", "nowhere"], "--advertise"),
            // Nothing to recover, and nobody to learn from: not the time to found a cluster.
            (&["--recover"], "--join"),
            (&["--config", "/nonexistent.toml"], "--config"),
        ] {
            let mut launch = cluster.launch(1)?;
            launch.flags = flags.iter().map(|&flag| flag.to_owned()).collect();
            let message = refused(cluster, launch, 2)?;
            ensure_says(&message, &[name])?;
        }
        Ok(())
    });
}

#[test]
fn an_address_in_use_is_named() {
    story(1, |cluster| {
        let mut launch = cluster.launch_joining(2)?;
        launch.listen = cluster.node(1)?.launch.listen;
        let address = launch.listen.to_string();
        let message = refused(cluster, launch, 1)?;
        ensure_says(&message, &[&address, "in use"])?;
        ensure_undisturbed(cluster, 1)
    });
}

#[test]
fn a_data_directory_in_use_is_named() {
    story(1, |cluster| {
        // Not through the cluster, which has a node 1 already.
        let launch = cluster.launch(1)?;
        let output = tempfile::tempdir()?;
        let mut second =
            cluster_tests::Node::new(launch.clone(), &cluster.artifacts.hostd, output.path());
        second.spawn()?;
        let code = second.wait_exit(PATIENCE)?;
        let log = second.log_since_start();
        ensure!(code == Some(1), "it ended with {code:?}: {log}");
        ensure_says(&log, &[&launch.directory().display().to_string(), "in use"])?;
        ensure_undisturbed(cluster, 1)
    });
}

#[test]
fn a_certificate_of_another_authority_opens_nothing() {
    story(1, |cluster| {
        let mut launch = cluster.launch_joining(2)?;
        // Its own directory, so it makes an authority of its own.
        launch.data = cluster.directory().join("stranger");
        let message = refused(cluster, launch, 1)?;
        ensure_says(&message, &["certificate"])?;
        ensure_undisturbed(cluster, 1)
    });
}

#[test]
fn the_certificate_of_another_node_is_not_enough() {
    story(1, |cluster| {
        let mut launch = cluster.launch_joining(2)?;
        let pki = cluster.pki();
        launch.flags = [
            ("--ca", "ca.pem"),
            ("--cert", "node-1.pem"),
            ("--key", "node-1-key.pem"),
        ]
        .into_iter()
        .flat_map(|(flag, file)| [flag.to_owned(), pki.join(file).display().to_string()])
        .collect();
        let message = refused(cluster, launch, 1)?;
        ensure_says(&message, &["node 2"])?;
        ensure_undisturbed(cluster, 1)
    });
}

/// A second node 2 on another machine is refused, saying `why`, and nobody notices.
fn refuse_a_second_node_2(flags: &[&str], why: &'static str) {
    let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
    story(3, move |cluster| {
        let mut launch = cluster.launch(2)?;
        launch.join = cluster.addresses();
        launch.data = cluster.directory().join("elsewhere");
        launch.flags = flags;
        copy_directory(&cluster.pki(), &launch.data.join("pki"))?;
        let output = tempfile::tempdir()?;
        let mut second = cluster_tests::Node::new(launch, &cluster.artifacts.hostd, output.path());
        second.spawn()?;
        let code = second.wait_exit(PATIENCE)?;
        let log = second.log_since_start();
        ensure!(code == Some(1), "it ended with {code:?}: {log}");
        ensure_says(reason(&log), &["number 2", why])?;
        ensure_undisturbed(cluster, 3)
    });
}

#[test]
fn a_node_id_in_use_is_refused() {
    refuse_a_second_node_2(&[], "--recover");
}

#[test]
fn the_number_of_a_node_that_is_alive_is_not_taken_over() {
    refuse_a_second_node_2(&["--recover"], "alive");
}

#[test]
fn an_old_id_with_an_empty_directory_is_refused() {
    story(3, |cluster| {
        let forgetful = cluster.follower()?;
        let node = cluster.node(forgetful)?;
        node.kill()?;
        let launch = node.launch.clone();
        std::fs::remove_dir_all(launch.directory())?;
        let message = refused(cluster, launch, 1)?;
        ensure_says(&message, &[&format!("number {forgetful}"), "--recover"])?;
        // It made no promise in the meantime, and the others go on.
        cluster.hostctl().call(&["set", "k", "v"])?;
        let rows = cluster.status()?;
        let row = rows.iter().find(|row| row.id == forgetful);
        ensure!(row.is_some_and(|row| !row.reachable), "{rows:?}");
        Ok(())
    });
}

#[test]
fn an_old_id_with_an_empty_directory_and_nobody_to_join_founds_a_cluster_of_its_own() {
    // It cannot know better; but the others do not take part in it.
    story(3, |cluster| {
        let forgetful = 1;
        let node = cluster.node(forgetful)?;
        node.kill()?;
        let launch = node.launch.clone();
        ensure!(launch.join.is_empty());
        std::fs::remove_dir_all(launch.directory())?;
        cluster.hostctl().timeout("30s").call(&["set", "k", "v"])?;
        let others: Vec<u64> = cluster
            .ids()
            .into_iter()
            .filter(|id| *id != forgetful)
            .collect();
        cluster.spawn(launch)?;
        for id in others {
            let hostctl = cluster.hostctl_at(id)?.timeout("20s");
            ensure!(hostctl.call(&["get", "k"])? == "v");
        }
        Ok(())
    });
}

#[test]
fn the_data_of_another_cluster_is_refused() {
    story(2, |cluster| {
        // A second cluster with the same certificates.
        let output = tempfile::tempdir()?;
        let mut launch = cluster.launch(2)?;
        launch.data = cluster.directory().join("other");
        copy_directory(&cluster.pki(), &launch.data.join("pki"))?;
        let mut founder =
            cluster_tests::Node::new(launch.clone(), &cluster.artifacts.hostd, output.path());
        founder.spawn()?;
        founder.wait_ready(PATIENCE)?;
        founder.stop(PATIENCE)?;
        // Its data comes to this cluster's node 2.
        let node = cluster.node(2)?;
        node.stop(PATIENCE)?;
        let mine = node.launch.clone();
        std::fs::remove_dir_all(mine.directory())?;
        copy_directory(&launch.directory(), &mine.directory())?;
        let message = refused(cluster, mine, 1)?;
        ensure_says(&message, &["cluster"])?;
        Ok(())
    });
}
