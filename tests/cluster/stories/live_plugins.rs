//! Plugins that are installed, replaced, migrated, rolled back and removed while clients use them.

use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cluster_tests::{Answer, Artifacts, Cluster, Hostctl, Node, PATIENCE, wait_for};
use serde_json::Value;

use crate::costly;
use crate::snapshots::{ensure_installed, write_much};
use crate::support::{Load, story};

/// Keys of a plugin whose state is migrated: enough for many steps.
const KEYS: u32 = 30_000;

/// A fixture's file.
pub(crate) fn fixture(name: &str) -> Result<PathBuf> {
    Artifacts::locate()?.plugin(name)
}

/// The same plugin under another version, as a file of its own.
pub(crate) fn with_version(cluster: &Cluster, name: &str, from: &str, to: &str) -> Result<PathBuf> {
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

pub(crate) fn plugin(cluster: &Cluster, words: &[&str]) -> Result<Answer> {
    cluster
        .hostctl()
        .timeout("40s")
        .run(["plugin"].iter().chain(words))
}

fn plugin_ok(cluster: &Cluster, words: &[&str]) -> Result<String> {
    plugin(cluster, words)?.ok()
}

pub(crate) fn file_ok(cluster: &Cluster, verb: &str, file: &std::path::Path) -> Result<String> {
    plugin_ok(cluster, &[verb, &file.to_string_lossy()])
}

pub(crate) fn show(cluster: &Cluster, name: &str) -> Result<Value> {
    cluster.hostctl().json(&["plugin", "show", name])
}

/// A cluster's tally with many keys.
fn fill(cluster: &Cluster, keys: u32) -> Result<()> {
    file_ok(cluster, "install", &fixture("tally")?)?;
    for first in (0..keys).step_by(5_000) {
        let (first, count) = (first.to_string(), "5000".to_owned());
        cluster.hostctl().call(&["fill", "a", &first, &count])?;
    }
    Ok(())
}

/// Runs `hostctl plugin` beside what the test does.
fn beside(cluster: &Cluster, words: &[&str]) -> JoinHandle<Result<Answer>> {
    run_beside(cluster.hostctl(), words)
}

fn run_beside(hostctl: Hostctl, words: &[&str]) -> JoinHandle<Result<Answer>> {
    let hostctl = hostctl.timeout("60s");
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

/// So many upgrades, and as many rollbacks, in a row.
const ROUNDS: usize = 20;

fn back_and_forth(cluster: &Cluster, load: &Load) -> Result<()> {
    let next = with_version(cluster, "ticket", "0.1.0", "0.2.0")?;
    for round in 0..ROUNDS {
        let told = file_ok(cluster, "upgrade", &next)?;
        let expected = if round == 0 {
            "upgraded"
        } else {
            "rolled back"
        };
        ensure!(
            is_done(&told, expected, "ticket 0.2.0"),
            "{told}, not {expected}"
        );
        load.wait_for_more(20)?;
        let told = plugin_ok(cluster, &["rollback", "ticket"])?;
        ensure!(is_done(&told, "rolled back", "ticket 0.1.0"), "{told}");
        load.wait_for_more(20)?;
    }
    Ok(())
}

/// All nodes run the same versions.
fn ensure_same_versions(cluster: &Cluster) -> Result<()> {
    let status = cluster.hostctl().json(&["status"])?;
    let rows = status.as_array().context("an array")?;
    ensure!(
        rows.iter().all(|row| row["plugins"] == rows[0]["plugins"]),
        "{status:#}"
    );
    Ok(())
}

/// Whether a change of version is done. On a busy machine the client asks a second time, and is told
/// what the first time did.
fn is_done(told: &str, done: &str, version: &str) -> bool {
    told == format!("{done}: {version}") || told == format!("{version} runs already")
}

#[test]
fn twenty_upgrades_and_rollbacks_under_load_fail_no_call() {
    story(3, |cluster| {
        let load = Load::crowd(cluster)?;
        back_and_forth(cluster, &load)?;
        load.stop()?.check(cluster)
    });
}

#[test]
fn twenty_upgrades_and_rollbacks_while_a_follower_is_down_fail_no_call() {
    story(3, |cluster| {
        let load = Load::crowd(cluster)?;
        let follower = cluster.follower()?;
        cluster.node(follower)?.kill()?;
        back_and_forth(cluster, &load)?;
        let next = with_version(cluster, "ticket", "0.1.0", "0.3.0")?;
        file_ok(cluster, "upgrade", &next)?;
        cluster.restart(follower)?;
        cluster.wait_voters(3)?;
        load.stop()?.check(cluster)?;
        // The one that was away runs what the others run.
        ensure_same_versions(cluster)
    });
}

/// Kills the leader as soon as a node was asked to activate a version, or this much later.
fn kill_the_leader_after_activate_is_asked(
    cluster: &mut Cluster,
    asked_before: usize,
    later: Duration,
) -> Result<u64> {
    let leader = cluster.wait_leader()?;
    wait_for("a version is to be activated", PATIENCE, || {
        asked_to_activate(cluster) > asked_before
    })?;
    std::thread::sleep(later);
    cluster.node(leader)?.kill()?;
    Ok(leader)
}

/// How often all nodes together were asked to activate a version.
fn asked_to_activate(cluster: &Cluster) -> usize {
    let asked = |node: &Node| {
        let log = std::fs::read_to_string(node.log_file()).unwrap_or_default();
        log.matches("change=Activate").count()
    };
    cluster.nodes().map(asked).sum()
}

#[test]
fn the_leader_dies_while_a_version_is_made_ready() {
    story(3, |cluster| {
        // It takes the nodes a while to compile, so that this is where the leader dies.
        let slow = cluster.directory().join("slow.wasm");
        let ticket = std::fs::read(with_version(cluster, "ticket", "0.1.0", "0.2.0")?)?;
        std::fs::write(&slow, costly::beside(&ticket, &costly::slow()))?;
        let load = Load::crowd(cluster)?;
        let asked = asked_to_activate(cluster);
        let upgrade = beside(cluster, &["upgrade", &slow.to_string_lossy()]);
        let leader = kill_the_leader_after_activate_is_asked(cluster, asked, Duration::ZERO)?;
        joined(upgrade)?.ok()?;
        cluster.restart(leader)?;
        cluster.wait_voters(3)?;
        load.wait_for_more(20)?;
        load.stop()?.check(cluster)?;
        ensure_same_versions(cluster)
    });
}

#[test]
fn the_leader_dies_while_a_version_is_activated() {
    story(3, |cluster| {
        let next = with_version(cluster, "ticket", "0.1.0", "0.2.0")?;
        file_ok(cluster, "upgrade", &next)?;
        let load = Load::crowd(cluster)?;
        // Where in the activation it dies differs from round to round.
        for later in [0, 50, 150, 300] {
            let asked = asked_to_activate(cluster);
            let rollback = beside(cluster, &["rollback", "ticket"]);
            let later = Duration::from_millis(later);
            let leader = kill_the_leader_after_activate_is_asked(cluster, asked, later)?;
            joined(rollback)?.ok()?;
            cluster.restart(leader)?;
            cluster.wait_voters(3)?;
            load.wait_for_more(20)?;
        }
        load.stop()?.check(cluster)?;
        ensure_same_versions(cluster)
    });
}

#[test]
fn a_state_is_migrated_under_load_though_the_leader_dies() {
    story(3, |cluster| {
        fill(cluster, KEYS)?;
        let load = Load::crowd(cluster)?;
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
        // It takes longer than a node to join.
        fill(cluster, 5 * KEYS)?;
        write_much(cluster)?;
        let load = Load::crowd(cluster)?;
        let launch = cluster.launch_joining(2)?;
        cluster.spawn(launch)?;
        let file = fixture("tally-keys")?;
        let upgrade = run_beside(
            cluster.hostctl_at(1)?,
            &["upgrade", &file.to_string_lossy()],
        );
        cluster.node(2)?.wait_ready(PATIENCE)?;
        cluster.grow_to(3)?;
        let under_way = !show(cluster, "tally")?["migration"].is_null();
        println!("with three voters the migration is under way: {under_way}");
        joined(upgrade)?.ok()?;
        for id in [2, 3] {
            ensure_installed(cluster, id)?;
        }
        load.stop()?.check(cluster)?;
        ensure_same_versions(cluster)?;
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
        fill(cluster, KEYS)?;
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
            missing.code == Some(2) && missing.stderr.contains("/nowhere/x.wasm"),
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
