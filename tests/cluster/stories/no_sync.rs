//! `--no-sync`: less waits for the disk, and a process that is killed loses nothing all the same.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use cluster_tests::{Cluster, PATIENCE};

use crate::support::{Resp, story};

/// Writes while the calls are counted.
const WRITES: usize = 300;

#[test]
fn no_sync() {
    let mut traced = Command::new("strace");
    let traced = traced.arg("true").stderr(Stdio::null()).status();
    if !traced.is_ok_and(|status| status.success()) {
        eprintln!("skipped: strace is missing or may not trace; `apt-get install strace`");
        return;
    }
    let mut counted = Vec::new();
    for flags in [vec![], vec!["--no-sync".to_owned()]] {
        story(0, |cluster| {
            let calls = cluster.directory().join("syncs");
            let mut launch = cluster.launch(1)?;
            launch.flags = flags;
            launch.through = strace(&calls);
            cluster.start(launch)?;
            let mut client = Resp::to(cluster, 1)?;
            for number in 0..WRITES {
                let answer = client.ask(&["set", &format!("k{number}"), "v"])?;
                ensure!(answer == "+OK", "{answer}");
            }
            counted.push(syncs(&calls)?);
            killed_and_whole(cluster)
        });
    }
    let [with, without] = counted[..] else {
        panic!("both were counted: {counted:?}");
    };
    assert!(with >= WRITES, "{with} syncs for {WRITES} writes in turn");
    assert!(
        without * 10 < with,
        "{without} syncs where there were {with}"
    );
}

/// What counts a program's calls, each of which is a line in this file. It is the program's child
/// (`-D`), so the node is still the process that was started.
fn strace(calls: &Path) -> Vec<String> {
    let calls = calls.to_string_lossy();
    let words = [
        "strace",
        "-D",
        "-f",
        "--signal=none",
        "-e",
        "fsync,fdatasync,msync",
        "-o",
        &calls,
    ];
    words.map(str::to_owned).to_vec()
}

fn syncs(calls: &Path) -> Result<usize> {
    let text = std::fs::read_to_string(calls).context("strace wrote nothing")?;
    Ok(text.lines().filter(|line| line.contains("sync(")).count())
}

fn killed_and_whole(cluster: &mut Cluster) -> Result<()> {
    cluster.node(1)?.kill()?;
    let node = cluster.node(1)?;
    node.launch.through.clear();
    node.spawn()?;
    node.wait_ready(PATIENCE)?;
    let mut client = Resp::to(cluster, 1)?;
    let size = client.ask(&["dbsize"])?;
    ensure!(size == format!(":{WRITES}"), "{size} of {WRITES} are there");
    Ok(())
}
