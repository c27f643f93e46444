//! Database files that were damaged while their node was stopped: never served.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use cluster_tests::{Cluster, Launch, PATIENCE, wait_for_value};

use crate::support::{copy_directory, reason, story};

/// What to look for in the files.
const NEEDLE: &str = "a-value-that-is-easily-found-in-a-file";

/// A stopped one-node cluster with 200 keys of this value: the first half in the state's file, the
/// second in the log's.
fn prepare(cluster: &mut Cluster) -> Result<()> {
    cluster.grow_to(1)?;
    set_keys(cluster, 0..100)?;
    cluster.compare_digests()?;
    set_keys(cluster, 100..200)?;
    cluster.stop()
}

fn set_keys(cluster: &Cluster, numbers: std::ops::Range<u32>) -> Result<()> {
    for number in numbers {
        cluster
            .hostctl()
            .call(&["set", &format!("k{number}"), NEEDLE])?;
    }
    Ok(())
}

fn file(cluster: &mut Cluster, name: &str) -> Result<PathBuf> {
    Ok(cluster.node(1)?.launch.directory().join(name))
}

/// Positions of the needle.
fn find(bytes: &[u8]) -> Vec<usize> {
    let needle = NEEDLE.as_bytes();
    (0..bytes.len().saturating_sub(needle.len()))
        .filter(|&position| bytes[position..].starts_with(needle))
        .collect()
}

/// The node ends with exit code 1, and names the file and a way out.
fn ensure_refused(cluster: &mut Cluster, path: &Path, how: &str) -> Result<()> {
    let node = cluster.node(1)?;
    node.spawn()?;
    let code = node.wait_exit(PATIENCE)?;
    let log = node.log_since_start();
    let why = reason(&log);
    ensure!(
        code == Some(1),
        "{how} in {}: it ended with {code:?}:\n{log}",
        path.display()
    );
    ensure!(
        node.ready_line().is_none(),
        "{how}: it said that it was ready"
    );
    ensure!(!why.is_empty(), "{how}: it gave no reason:\n{log}");
    ensure!(
        why.contains(&path.display().to_string()),
        "{how}: the file is not named: {why}"
    );
    ensure!(
        why.contains("--recover"),
        "{how}: it does not say what to do: {why}"
    );
    Ok(())
}

fn each_damage(name: &str) {
    story(0, |cluster| {
        prepare(cluster)?;
        let path = file(cluster, name)?;
        let whole = std::fs::read(&path)?;
        let positions = find(&whole);
        ensure!(!positions.is_empty(), "{name} holds no value");

        let mut flipped = whole.clone();
        for position in positions {
            flipped[position] ^= 1;
        }
        let half = whole[..whole.len() / 2].to_vec();
        let mut header = whole.clone();
        header[..64].fill(0);
        let damages = [
            ("a flipped bit in a value", flipped),
            ("a zeroed header", header),
            ("half of the file", half),
            ("the last byte cut off", whole[..whole.len() - 1].to_vec()),
            ("an empty file", Vec::new()),
        ];
        for (how, damaged) in damages {
            std::fs::write(&path, damaged)?;
            ensure_refused(cluster, &path, how)?;
        }

        // Nothing was made worse: with the file as it was, all is well.
        std::fs::write(&path, &whole)?;
        cluster.restart(1)?;
        ensure!(cluster.hostctl().call(&["get", "k199"])? == NEEDLE);
        Ok(())
    });
}

#[test]
fn a_damaged_state_file_is_never_served() {
    each_damage("state.redb");
}

#[test]
fn a_damaged_log_file_is_never_served() {
    each_damage("log.redb");
}

#[test]
fn a_missing_file_is_never_made_anew() {
    story(0, |cluster| {
        prepare(cluster)?;
        for name in ["state.redb", "log.redb"] {
            let path = file(cluster, name)?;
            let aside = path.with_extension("aside");
            std::fs::rename(&path, &aside)?;
            ensure_refused(cluster, &path, "a missing file")?;
            std::fs::rename(&aside, &path)?;
        }
        cluster.restart(1)?;
        Ok(())
    });
}

#[test]
fn wherever_a_byte_is_flipped_nothing_wrong_is_served() {
    story(0, |cluster| {
        prepare(cluster)?;
        for name in ["state.redb", "log.redb"] {
            let path = file(cluster, name)?;
            let whole = std::fs::read(&path)?;
            // Some bytes are in no use; a node may start with one of those flipped.
            for round in 0..12 {
                let position = (whole.len() / 12) * round + 1_000 + 37 * round;
                let mut flipped = whole.clone();
                let Some(byte) = flipped.get_mut(position) else {
                    continue;
                };
                *byte ^= 0x10;
                std::fs::write(&path, flipped)?;
                start_or_refuse(cluster, &path, &format!("byte {position} flipped"))?;
            }
            std::fs::write(&path, &whole)?;
        }
        Ok(())
    });
}

/// The node ends with exit code 1 and the file's name, or serves every value as it was.
fn start_or_refuse(cluster: &mut Cluster, path: &Path, how: &str) -> Result<()> {
    // A copy, so that every round begins with the same files.
    let copy = tempfile::tempdir()?;
    let launch = cluster.node(1)?.launch.clone();
    copy_directory(&launch.directory(), &copy.path().join("node-1"))?;
    let mut launch = Launch {
        data: copy.path().to_owned(),
        ..launch
    };
    launch.flags = vec!["--pki".into(), cluster.pki().display().to_string()];
    let mut node = cluster_tests::Node::new(launch, &cluster.artifacts.hostd, copy.path());
    node.spawn()?;
    let ended = wait_for_value(
        &format!("{how}: the node is ready or ends"),
        PATIENCE,
        || {
            let ready = node.ready_line().map(|_| None);
            ready.or_else(|| node.exit_code().map(Some))
        },
    )?;
    if let Some(code) = ended {
        let log = node.log_since_start();
        let why = reason(&log);
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        ensure!(code == Some(1), "{how}: it ended with {code:?}:\n{log}");
        ensure!(why.contains(name), "{how}: it said:\n{log}");
        return Ok(());
    }
    let keys: Vec<String> = (0..200).map(|number| format!("k{number}")).collect();
    let words = ["call", "mget"]
        .into_iter()
        .chain(keys.iter().map(String::as_str));
    let values = cluster.hostctl_at(1)?.ok(words)?;
    ensure!(
        values.lines().count() == 200,
        "{how}: {} values",
        values.lines().count()
    );
    ensure!(
        values.lines().all(|value| value == NEEDLE),
        "{how}: wrong values are served"
    );
    Ok(())
}
