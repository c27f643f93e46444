//! Plugins that are installed, replaced, migrated, rolled back and removed while clients use them.

use std::path::PathBuf;
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, ensure};
use cluster_tests::{Answer, Artifacts, Cluster, PATIENCE, wait_for};
use serde_json::Value;

use crate::support::{Load, story};

/// Keys of a plugin whose state is migrated: enough for many steps.
const KEYS: u32 = 30_000;

/// A fixture's file.
fn fixture(name: &str) -> Result<PathBuf> {
    Artifacts::locate()?.plugin(name)
}

/// The same plugin under another version, as a file of its own.
fn with_version(cluster: &Cluster, name: &str, from: &str, to: &str) -> Result<PathBuf> {
    ensure!(from.len() == to.len());
    let mut bytes = std::fs::read(fixture(name)?)?;
    for at in 1..bytes.len() - from.len() {
        // The interfaces of the world have versions too.
        if bytes[at..].starts_with(from.as_bytes()) && bytes[at - 1] != b'@' {
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        }
    }
    let file = cluster.directory().join(format!("{name}-{to}.wasm"));
    std::fs::write(&file, bytes)?;
    Ok(file)
}

fn plugin(cluster: &Cluster, words: &[&str]) -> Result<Answer> {
    cluster
        .hostctl()
        .timeout("40s")
        .run(["plugin"].iter().chain(words))
}

fn plugin_ok(cluster: &Cluster, words: &[&str]) -> Result<String> {
    plugin(cluster, words)?.ok()
}

fn file_ok(cluster: &Cluster, verb: &str, file: &std::path::Path) -> Result<String> {
    plugin_ok(cluster, &[verb, &file.to_string_lossy()])
}

fn show(cluster: &Cluster, name: &str) -> Result<Value> {
    cluster.hostctl().json(&["plugin", "show", name])
}

/// A cluster's tally with many keys.
fn fill(cluster: &Cluster) -> Result<()> {
    file_ok(cluster, "install", &fixture("tally")?)?;
    for first in (0..KEYS).step_by(5_000) {
        let (first, count) = (first.to_string(), "5000".to_owned());
        cluster.hostctl().call(&["fill", "a", &first, &count])?;
    }
    Ok(())
}

/// Runs `hostctl plugin` beside what the test does.
fn beside(cluster: &Cluster, words: &[&str]) -> JoinHandle<Result<Answer>> {
    let hostctl = cluster.hostctl().timeout("60s");
    let words: Vec<String> = ["plugin"]
        .iter()
        .chain(words)
        .map(|word| (*word).to_owned())
        .collect();
    std::thread::spawn(move || hostctl.run(words))
}

fn joined(thread: JoinHandle<Result<Answer>>) -> Result<Answer> {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[test]
fn twenty_upgrades_and_rollbacks_under_load_fail_no_call() {
    story(3, |cluster| {
        let next = with_version(cluster, "ticket", "0.1.0", "0.2.0")?;
        let load = Load::start(cluster)?;
        for round in 0..20 {
            let told = file_ok(cluster, "upgrade", &next)?;
            let expected = if round == 0 {
                "upgraded"
            } else {
                "rolled back"
            };
            ensure!(told == format!("{expected}: ticket 0.2.0"), "{told}");
            load.wait_for_more(20)?;
            let told = plugin_ok(cluster, &["rollback", "ticket"])?;
            ensure!(told == "rolled back: ticket 0.1.0", "{told}");
            load.wait_for_more(20)?;
        }
        load.stop()?.check(cluster)
    });
}

#[test]
fn an_upgrade_survives_a_dead_follower_and_a_dead_leader() {
    story(3, |cluster| {
        let next = with_version(cluster, "ticket", "0.1.0", "0.2.0")?;
        let load = Load::start(cluster)?;
        let follower = cluster.follower()?;
        cluster.node(follower)?.kill()?;
        file_ok(cluster, "upgrade", &next)?;
        cluster.restart(follower)?;
        cluster.wait_voters(3)?;
        for _ in 0..3 {
            let rollback = beside(cluster, &["rollback", "ticket"]);
            let leader = cluster.wait_leader()?;
            cluster.node(leader)?.kill()?;
            joined(rollback)?.ok()?;
            cluster.restart(leader)?;
            cluster.wait_voters(3)?;
            load.wait_for_more(20)?;
        }
        load.stop()?.check(cluster)?;
        // The one that was away runs what the others run.
        let rows = cluster.status()?;
        ensure!(
            rows.iter().all(|row| row.plugins == rows[0].plugins),
            "{rows:#?}"
        );
        Ok(())
    });
}

#[test]
fn a_state_is_migrated_under_load_though_the_leader_dies() {
    story(3, |cluster| {
        fill(cluster)?;
        let load = Load::start(cluster)?;
        for (version, name) in [("2.0.0", "tally-keys"), ("3.0.0", "tally-steps")] {
            let file = fixture(name)?;
            let upgrade = beside(cluster, &["upgrade", &file.to_string_lossy()]);
            wait_for("the migration is under way", PATIENCE, || {
                show(cluster, "tally").is_ok_and(|tally| {
                    !tally["migration"].is_null() || tally["description"]["version"] == version
                })
            })?;
            let leader = cluster.wait_leader()?;
            cluster.node(leader)?.kill()?;
            // Writes of both kinds of migration come through, at once or after a while.
            cluster
                .hostctl()
                .timeout("40s")
                .call(&["count", "meanwhile", "1"])?;
            let told = joined(upgrade)?.ok()?;
            ensure!(told == format!("migrated: tally {version}"), "{told}");
            cluster.restart(leader)?;
            cluster.wait_voters(3)?;
        }
        load.stop()?.check(cluster)?;
        let hostctl = cluster.hostctl();
        ensure!(hostctl.call(&["total", "meanwhile"])? == "2");
        for number in [0, 1, KEYS / 2, KEYS - 1] {
            ensure!(hostctl.call(&["total", &format!("a{number}")])? == "1");
        }
        let tally = show(cluster, "tally")?;
        ensure!(tally["keys"] == KEYS + 1, "{tally:#}");
        cluster.compare_digests()?;
        Ok(())
    });
}

#[test]
fn a_node_that_joins_by_snapshot_in_the_middle_of_a_migration_has_the_right_code() {
    story(1, |cluster| {
        fill(cluster)?;
        let file = fixture("tally-keys")?;
        let upgrade = beside(cluster, &["upgrade", &file.to_string_lossy()]);
        cluster.grow_to(3)?;
        joined(upgrade)?.ok()?;
        cluster.compare_digests()?;
        for id in cluster.ids() {
            let total = cluster
                .hostctl_directly_at(id)?
                .ok(["call", "--read", "stale", "total", "a7"])?;
            ensure!(total == "1", "node {id}: {total}");
        }
        Ok(())
    });
}

#[test]
fn a_migration_that_traps_leaves_the_old_version_and_says_why() {
    story(3, |cluster| {
        fill(cluster)?;
        cluster.hostctl().call(&["count", "trap", "5"])?;
        let load = Load::start(cluster)?;
        for name in ["tally-keys", "tally-steps"] {
            let file = fixture(name)?;
            let answer = plugin(cluster, &["upgrade", &file.to_string_lossy()])?;
            ensure!(answer.code == Some(4), "{answer:?}");
            ensure!(
                answer.stderr.contains("migration_failed") && answer.stderr.contains("trapped"),
                "{answer:?}"
            );
            let tally = show(cluster, "tally")?;
            ensure!(tally["description"]["version"] == "1.0.0", "{tally:#}");
            ensure!(
                tally["failed"]["reason"]
                    .as_str()
                    .is_some_and(|reason| reason.contains("trapped")),
                "{tally:#}"
            );
            ensure!(cluster.hostctl().call(&["total", "trap"])? == "5");
        }
        load.stop()?.check(cluster)?;
        wait_for("what was made is cleared away", PATIENCE, || {
            show(cluster, "tally").is_ok_and(|tally| tally["keys"] == KEYS + 1)
        })?;
        cluster.compare_digests()?;
        Ok(())
    });
}

#[test]
fn what_is_no_plugin_is_refused_with_a_reason_and_harms_nobody() {
    story(1, |cluster| {
        let cases: [(&str, Vec<u8>, i32, &str); 5] = [
            ("empty", Vec::new(), 3, "the file is empty"),
            ("text", b"no plugin".to_vec(), 3, "not WebAssembly"),
            (
                "nothing",
                b"\0asm\x0d\0\x01\0".to_vec(),
                3,
                "does not export `describe`",
            ),
            (
                "large",
                [b"\0asm".to_vec(), vec![0; 100 << 20]].concat(),
                3,
                "larger than",
            ),
            (
                "cut",
                {
                    let whole = std::fs::read(fixture("tally")?)?;
                    whole[..whole.len() / 2].to_vec()
                },
                3,
                "not valid WebAssembly",
            ),
        ];
        for (name, bytes, code, reason) in cases {
            let file = cluster.directory().join(name);
            std::fs::write(&file, bytes)?;
            let answer = plugin(cluster, &["install", &file.to_string_lossy()])?;
            ensure!(
                answer.code == Some(code) && answer.stderr.contains(reason),
                "{name}: {answer:?}"
            );
        }
        let missing = plugin(cluster, &["install", "/nowhere/x.wasm"])?;
        ensure!(
            missing.code == Some(3) && missing.stderr.contains("/nowhere/x.wasm"),
            "{missing:?}"
        );
        cluster.hostctl().call(&["ticket"])?;
        Ok(())
    });
}

#[test]
fn a_quota_refuses_what_grows_and_a_removed_plugin_can_come_back() {
    story(1, |cluster| {
        file_ok(cluster, "install", &fixture("tally")?)?;
        let hostctl = cluster.hostctl();
        hostctl.call(&["fill", "a", "0", "100"])?;
        plugin_ok(cluster, &["limits", "-p", "tally", "keys_max=100"])?;
        let refused = hostctl.run(["call", "count", "b", "1"])?;
        ensure!(
            refused.code == Some(7) && refused.stderr.starts_with("no_space: "),
            "{refused:?}"
        );
        ensure!(hostctl.call(&["total", "a1"])? == "1");
        hostctl.call(&["drop-name", "a1"])?;
        ensure!(hostctl.call(&["count", "b", "1"])? == "1");
        plugin_ok(cluster, &["remove", "tally"])?;
        let gone = hostctl.run(["call", "count", "b", "1"])?;
        ensure!(gone.code == Some(3), "{gone:?}");
        file_ok(cluster, "install", &fixture("tally")?)?;
        ensure!(hostctl.call(&["count", "b", "1"])? == "2");
        plugin_ok(cluster, &["remove", "tally", "--purge"])?;
        file_ok(cluster, "install", &fixture("tally")?)?;
        ensure!(hostctl.call(&["total", "b"])?.is_empty());
        let json = hostctl.json(&["plugin", "list"])?;
        let names: Vec<_> = json
            .as_array()
            .context("an array")?
            .iter()
            .map(|plugin| plugin["name"].as_str().unwrap_or_default())
            .collect();
        ensure!(names == ["kv", "tally", "ticket"], "{names:?}");
        Ok(())
    });
}
