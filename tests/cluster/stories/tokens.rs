//! A node on a machine of its own joins with an address and a token.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use cluster_tests::{Cluster, Launch, PATIENCE, wait_for};

use crate::support::{Load, copy_directory, reason, story};

/// A node that has nothing of the cluster's.
fn elsewhere(cluster: &Cluster, id: u64, through: u64, token: &str) -> Result<Launch> {
    let mut launch = cluster.launch(id)?;
    launch.data = cluster.directory().join(format!("machine-{id}"));
    launch.join = vec![cluster.address(through)?];
    launch.plugins = Vec::new();
    launch.flags = vec!["--token".into(), token.into()];
    Ok(launch)
}

fn create(cluster: &Cluster, flags: &[&str]) -> Result<String> {
    cluster
        .hostctl()
        .ok(["token", "create"].iter().chain(flags))
}

/// Starts a node that is not taken in. Returns why.
fn refused(cluster: &mut Cluster, launch: Launch) -> Result<String> {
    let id = launch.id;
    let pki = launch.data.join("pki");
    let node = cluster.spawn(launch)?;
    let code = node.wait_exit(PATIENCE)?;
    let said = reason(&node.log_since_start()).to_owned();
    cluster.forget(id);
    ensure!(matches!(code, Some(1 | 2)), "{code:?}: {said}");
    for file in ["ca.pem".into(), format!("node-{id}.pem")] {
        ensure!(!pki.join(&file).exists(), "{file} was left: {said}");
    }
    Ok(said)
}

fn ensure_says(said: &str, words: &str) -> Result<()> {
    ensure!(said.contains(words), "not {words:?}, but: {said}");
    Ok(())
}

#[test]
fn a_node_elsewhere_joins_with_a_token_and_needs_it_once() {
    story(1, |cluster| {
        let load = Load::start(cluster)?;
        let token = create(cluster, &["--node", "2"])?;
        let listed = cluster.hostctl().json(&["token", "list"])?;
        ensure!(listed[0]["node"] == 2, "{listed}");
        ensure!(
            !listed
                .to_string()
                .contains(token.split('.').nth(1).unwrap_or("?"))
        );
        let launch = elsewhere(cluster, 2, 1, &token)?;
        let key = launch.data.join("pki/node-2-key.pem");
        cluster.start(launch)?;
        cluster.wait_voters(2)?;
        ensure!(key.exists() && !key.with_file_name("ca-key.pem").exists());
        let listed = cluster.hostctl().json(&["token", "list"])?;
        ensure!(listed == serde_json::json!([]), "{listed}");

        // Through a node that does not have the authority's key.
        let token = create(cluster, &[])?;
        let launch = elsewhere(cluster, 3, 2, &token)?;
        cluster.start(launch)?;
        cluster.wait_voters(3)?;
        load.wait_for_more(50)?;
        load.stop()?.check(cluster)?;

        // The same flags again: it has its certificate.
        cluster.node(3)?.stop(PATIENCE)?;
        cluster.restart(3)?;
        cluster.wait_voters(3)?;
        Ok(())
    });
}

#[test]
fn a_token_that_does_not_count_takes_nobody_in() {
    story(3, |cluster| {
        let token = create(cluster, &["--node", "7"])?;
        let said = refused_with(cluster, 8, &token)?;
        ensure_says(&said, "the token is for node 7, not for node 8")?;

        let mut parts: Vec<&str> = token.split('.').collect();
        let secret = "0".repeat(parts[1].len());
        parts[1] = &secret;
        let said = refused_with(cluster, 7, &parts.join("."))?;
        ensure_says(&said, "no such token")?;
        let mut parts: Vec<&str> = token.split('.').collect();
        let authority = "0".repeat(64);
        parts[2] = &authority;
        let said = refused_with(cluster, 7, &parts.join("."))?;
        ensure_says(&said, "not of the token's authority")?;
        let said = refused_with(cluster, 7, "nonsense")?;
        ensure_says(&said, "this is no join token")?;

        cluster.hostctl().ok(["token", "revoke", &token])?;
        let said = refused_with(cluster, 7, &token)?;
        ensure_says(&said, "no such token")?;

        // Whoever is a member, or was, cannot be impersonated.
        cluster
            .hostctl()
            .run(["token", "create", "--node", "2"])?
            .refused(3, "invalid_argument")?;
        let token = create(cluster, &[])?;
        let mut launch = elsewhere(cluster, 2, 1, &token)?;
        let real = cluster.launch(2)?;
        launch.data = cluster.directory().join("impostor");
        cluster.node(2)?.kill()?;
        cluster.forget(2);
        let said = refused(cluster, launch.clone())?;
        ensure_says(&said, "node 2 is a member")?;
        cluster.start(Launch {
            join: vec![cluster.address(1)?],
            ..real
        })?;
        cluster.wait_voters(3)?;

        // Used, and used again by somebody else.
        let launch = elsewhere(cluster, 5, 1, &token)?;
        cluster.start(launch)?;
        let said = refused_with(cluster, 6, &token)?;
        ensure_says(&said, "no such token")?;
        cluster.hostctl().ok(["member", "remove", "5"])?;
        cluster.node(5)?.kill()?;
        cluster.forget(5);
        let token = create(cluster, &[])?;
        let mut launch = elsewhere(cluster, 5, 1, &token)?;
        launch.data = cluster.directory().join("impostor");
        let said = refused(cluster, launch)?;
        ensure_says(&said, "choose another --node-id")?;

        let token = create(cluster, &["--ttl", "1ms"])?;
        // The clock moves with what is written.
        cluster.hostctl().call(&["ticket"])?;
        let said = refused_with(cluster, 9, &token)?;
        ensure_says(&said, "no such token")?;
        Ok(())
    });
}

fn refused_with(cluster: &mut Cluster, id: u64, token: &str) -> Result<String> {
    let launch = elsewhere(cluster, id, 1, token)?;
    refused(cluster, launch)
}

#[test]
fn a_node_with_an_authority_of_its_own_is_told_how_to_join() {
    story(1, |cluster| {
        let mut launch = elsewhere(cluster, 2, 1, "")?;
        let token = launch.flags.split_off(0);
        let pki = launch.data.join("pki");
        let told = |cluster: &mut Cluster, launch: Launch| -> Result<String> {
            let node = cluster.spawn(launch)?;
            let code = node.wait_exit(PATIENCE)?;
            let said = reason(&node.log_since_start()).to_owned();
            cluster.forget(2);
            ensure!(code == Some(1), "{code:?}: {said}");
            Ok(said)
        };
        let said = told(cluster, launch.clone())?;
        for words in [
            format!("Clear {}", pki.display()),
            "`hostctl token create`".to_owned(),
            "`hostctl pki issue --node 2`".to_owned(),
        ] {
            ensure_says(&said, &words)?;
        }
        // Too late for a token, and it says so.
        launch.flags = token;
        launch.flags[1] = create(cluster, &[])?;
        let said = told(cluster, launch.clone())?;
        ensure_says(&said, "--token is looked at only where there is none")?;
        // As it was told.
        std::fs::remove_dir_all(&pki)?;
        cluster.start(launch)?;
        cluster.wait_voters(2)?;
        Ok(())
    });
}

#[test]
fn without_the_authoritys_key_a_token_is_refused_with_what_to_do() {
    story(2, |cluster| {
        let pki: PathBuf = cluster.pki();
        let kept = cluster.directory().join("kept");
        copy_directory(&pki, &kept)?;
        let token = create(cluster, &[])?;
        std::fs::remove_file(pki.join("ca-key.pem"))?;
        let said = refused_with(cluster, 4, &token)?;
        ensure_says(&said, "hostctl pki issue --node")?;
        // Nothing was used up.
        std::fs::copy(kept.join("ca-key.pem"), pki.join("ca-key.pem"))?;
        let launch = elsewhere(cluster, 4, 2, &token)?;
        cluster.start(launch)?;
        cluster.wait_voters(3)?;
        Ok(())
    });
}

#[test]
fn whoever_guesses_tokens_is_not_listened_to_for_long() {
    story(1, |cluster| {
        let token = create(cluster, &[])?;
        let mut parts: Vec<&str> = token.split('.').collect();
        let secret = "1".repeat(parts[1].len());
        parts[1] = &secret;
        let wrong = parts.join(".");
        for _ in 0..20 {
            let said = refused_with(cluster, 3, &wrong)?;
            ensure_says(&said, "no such token")?;
        }
        let launch = elsewhere(cluster, 3, 1, &wrong)?;
        let node = cluster.spawn(launch)?;
        wait_for("it is not listened to", PATIENCE, || {
            node.log_since_start().contains("too many join tokens")
        })?;
        cluster.forget(3);
        cluster.hostctl().call(&["ticket"]).context("a client")?;
        Ok(())
    });
}
