//! Snapshots for people: taken while the cluster serves, carried away, checked, and made the beginning of
//! another cluster.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use cluster_tests::{Cluster, PATIENCE};
use hostd_client::Snapshots;
use serde_json::Value;

use crate::support::{Load, connect, runtime, story};

/// Takes a snapshot and fetches it. Returns what hostctl says about it.
fn save(cluster: &Cluster, file: &Path) -> Result<Value> {
    let file = file.to_string_lossy();
    cluster.hostctl().json(&["snapshot", "save", &file])
}

/// A cluster in a directory of its own whose first node begins with a snapshot.
fn restored(file: &Path) -> Result<Cluster> {
    let mut cluster = Cluster::empty(&[])?;
    let mut launch = cluster.launch(1)?;
    launch.flags = vec!["--restore".into(), file.to_string_lossy().into_owned()];
    cluster.start(launch)?;
    cluster.node(1)?.launch.flags.clear();
    Ok(cluster)
}

#[test]
fn what_is_restored_is_what_was_saved_and_others_join_it() {
    story(3, |cluster| {
        for (key, value) in [("a", "1"), ("b", "two words"), ("c", "")] {
            cluster.hostctl().call(&["set", key, value])?;
        }
        let last: u64 = cluster.hostctl().call(&["ticket"])?.parse()?;
        let file = cluster.directory().join("backup.snapshot");
        let saved = save(cluster, &file)?;
        let at = saved["index"].as_u64().context("no index")?;
        let digest = saved["digest"].as_str().context("no digest")?.to_owned();
        // The state of the source at that very entry.
        cluster.compare_digests()?;
        let shown = cluster.hostctl().json(&["snapshot", "list"])?;
        ensure!(
            shown[0]["index"] == at && shown[0]["digest"] == digest.as_str(),
            "{shown}"
        );
        cluster.hostctl().call(&["set", "a", "changed later"])?;

        let mut other = restored(&file)?;
        let read = |cluster: &Cluster| -> Result<()> {
            for (key, value) in [("a", "1"), ("b", "two words"), ("c", "")] {
                let found = cluster.hostctl().call(&["get", key])?;
                ensure!(found == value, "{key} is {found:?}");
            }
            Ok(())
        };
        read(&other)?;
        let next: u64 = other.hostctl().call(&["ticket"])?.parse()?;
        ensure!(next == last + 1, "the ticket after {last} is {next}");
        let of = |cluster: &mut Cluster| -> Result<String> {
            let line = cluster.node(1)?.ready_line().context("no ready line")?;
            Ok(line.split("cluster=").nth(1).unwrap_or_default().to_owned())
        };
        let (old, new) = (of(cluster)?, of(&mut other)?);
        ensure!(old != new && !new.is_empty(), "{old} and {new}");

        other.grow_to(3)?;
        other.stop()?;
        for id in other.ids() {
            other.node(id)?.spawn()?;
        }
        other.wait_voters(3)?;
        read(&other)?;
        other.compare_digests()?;

        // A second time there is something to lose.
        other.stop()?;
        let before = fs::read(other.data().join("node-1/log.redb"))?;
        let node = other.node(1)?;
        node.launch.flags = vec!["--restore".into(), file.to_string_lossy().into_owned()];
        node.spawn()?;
        let code = node.wait_exit(PATIENCE)?;
        let said = node.log_since_start();
        ensure!(
            code == Some(2) && said.contains("holds a node's data already"),
            "{code:?}: {said}"
        );
        ensure!(fs::read(other.data().join("node-1/log.redb"))? == before);
        Ok(())
    });
}

#[test]
fn a_snapshot_is_saved_while_writes_go_on_and_restored_without_a_server() {
    story(3, |cluster| {
        let load = Load::start(cluster)?;
        load.wait_for_more(200)?;
        let file = cluster.directory().join("backup.snapshot");
        let saved = save(cluster, &file)?;
        load.wait_for_more(200)?;
        load.stop()?.check(cluster)?;

        let file = file.to_string_lossy();
        let checked = cluster.hostctl().json(&["snapshot", "check", &file])?;
        ensure!(checked == saved, "{checked} is not {saved}");
        let mut other = Cluster::empty(&[])?;
        let data = other.data().to_string_lossy().into_owned();
        let restore = ["snapshot", "restore", &file, "--data", &data];
        cluster.hostctl().ok(restore)?;
        let again = cluster.hostctl().run(restore)?;
        ensure!(
            again.code == Some(3) && again.stderr.contains("holds a node's data already"),
            "{again:?}"
        );
        let launch = other.launch(1)?;
        let address = launch.address();
        other.start(launch)?;
        let written: i64 = other.hostctl().call(&["get", "counter"])?.parse()?;
        ensure!(written > 0, "{written}");
        let rows = other.wait_status("the node's own address", |rows| {
            rows.len() == 1 && rows[0].address == address
        })?;
        ensure!(rows[0].leader && rows[0].health == "ok", "{rows:?}");
        Ok(())
    });
}

#[test]
fn a_snapshot_that_is_truncated_or_altered_is_refused_and_nothing_is_touched() {
    story(1, |cluster| {
        cluster.hostctl().call(&["set", "key", "value"])?;
        let directory = cluster.directory().to_owned();
        let good = directory.join("good.snapshot");
        save(cluster, &good)?;
        let bytes = fs::read(&good)?;
        let mut files: Vec<(PathBuf, &str)> = Vec::new();
        let mut add = |name: &str, bytes: &[u8], reason: &'static str| -> Result<()> {
            let file = directory.join(name);
            fs::write(&file, bytes)?;
            files.push((file, reason));
            Ok(())
        };
        add(
            "other",
            b"HOSTDSN?, which is something else",
            "not a snapshot",
        )?;
        add("empty", b"", "not a snapshot")?;
        add("short", &bytes[..bytes.len() - 1], "truncated")?;
        add("half", &bytes[..bytes.len() / 2], "truncated")?;
        add(
            "long",
            &[&bytes[..], b"x"].concat(),
            "goes on after its end",
        )?;
        for at in [20, bytes.len() / 2, bytes.len() - 40, bytes.len() - 1] {
            let mut altered = bytes.clone();
            altered[at] ^= 0x10;
            add(&format!("altered-{at}"), &altered, "")?;
        }
        for (file, reason) in &files {
            let name = file.to_string_lossy();
            let checked = cluster.hostctl().run(["snapshot", "check", &name])?;
            ensure!(
                checked.code == Some(3) && checked.stderr.contains(reason),
                "{checked:?}"
            );
        }
        let mut other = Cluster::empty(&[])?;
        let data = other.data();
        let short = directory.join("short").to_string_lossy().into_owned();
        let nowhere = directory.join("nowhere").to_string_lossy().into_owned();
        for (file, code) in [(&short, 3), (&nowhere, 2)] {
            let new = directory.join("new-data");
            let to = new.to_string_lossy();
            let refused = cluster
                .hostctl()
                .run(["snapshot", "restore", file, "--data", &to])?;
            ensure!(refused.code == Some(code), "{refused:?}");
            ensure!(refused.stderr.contains(file), "{refused:?}");
            ensure!(!new.exists(), "a directory was left");
        }
        let unwritable = format!("{nowhere}/backup.snapshot");
        let refused = cluster
            .hostctl()
            .run(["snapshot", "save", &unwritable])?
            .refused(2, "usage")?;
        ensure!(
            refused.contains(&unwritable) && !refused.contains(".tmp"),
            "{refused}"
        );

        let mut launch = other.launch(1)?;
        launch.flags = vec!["--restore".into(), nowhere];
        let node = other.spawn(launch)?;
        let code = node.wait_exit(PATIENCE)?;
        ensure!(code == Some(2), "{code:?}: {}", node.log_since_start());
        node.launch.flags[1] = short;
        node.spawn()?;
        let code = node.wait_exit(PATIENCE)?;
        let said = node.log_since_start();
        ensure!(
            code == Some(2) && said.contains("truncated"),
            "{code:?}: {said}"
        );
        for name in ["node-1", "pki"] {
            ensure!(!data.join(name).exists(), "{name} was left");
        }
        // And with a sound file, in the same place.
        let node = other.node(1)?;
        node.launch.flags[1] = good.to_string_lossy().into_owned();
        node.spawn()?;
        node.wait_ready(PATIENCE)?;
        ensure!(other.hostctl().call(&["get", "key"])? == "value");
        // What everybody stored is its owner's alone.
        other.hostctl().ok(["snapshot", "now"])?;
        let again = other.hostctl().ok(["snapshot", "now"])?;
        ensure!(again.starts_with("nothing new since "), "{again}");
        for name in ["node-1", "node-1/snapshots"] {
            let mode = fs::metadata(data.join(name))?.permissions().mode() & 0o777;
            ensure!(mode == 0o700, "{name} has mode {mode:o}");
        }
        Ok(())
    });
}

#[test]
fn snapshots_are_listed_read_in_ranges_and_no_more_than_a_few_are_kept() {
    story(1, |cluster| {
        runtime()?.block_on(async {
            let client = connect(cluster).await?;
            let node = client.snapshots().await?;
            ensure!(node.list().await?.is_empty());
            client.call("set", ["key", &"x".repeat(3 << 20)]).await?;
            let taken = node.take(PATIENCE).await?;
            let again = node.take(PATIENCE).await.unwrap_err();
            ensure!(
                again.message().starts_with("nothing new to snapshot"),
                "{again}"
            );
            let file = fs::read(&taken.file)?;
            ensure!(file.len() as u64 == taken.size_bytes);
            for step in [1 << 20, 700_001] {
                ensure!(
                    read_all(&node, &taken.id, step).await? == file,
                    "in ranges of {step}"
                );
            }
            ensure!(node.read(&taken.id, u64::MAX, 3).await?.is_empty());
            for id in ["../state", "1-1-1", "", "..", "/etc/passwd"] {
                let refused = node.read(id, 0, 10).await.unwrap_err();
                ensure!(
                    refused.message().starts_with("no such snapshot"),
                    "{id}: {refused}"
                );
            }
            for round in 0..4 {
                client.call("set", ["key", &round.to_string()]).await?;
                node.take(PATIENCE).await?;
            }
            let kept = node.list().await?;
            ensure!(
                kept.len() == 3 && kept.iter().all(|kept| kept.id != taken.id),
                "{kept:?}"
            );
            client.close().await;
            Ok(())
        })
    });
}

async fn read_all(node: &Snapshots, id: &str, step: u64) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        let from = all.len() as u64;
        let piece = node.read(id, from, from + step).await?;
        if piece.is_empty() {
            return Ok(all);
        }
        all.extend(piece);
    }
}
