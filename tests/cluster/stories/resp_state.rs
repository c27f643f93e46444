//! The state, seen through the Redis protocol: snapshots of it, and keys that leave it.

use anyhow::{Context as _, Result, ensure};
use cluster_tests::{PATIENCE, wait_for};

use crate::support::{Resp, story};

/// A map's value, out of an answer that shows it as a flat array.
fn value<'a>(answer: &'a str, name: &str) -> Result<&'a str> {
    let begin = format!("\"{name}\" \"");
    let (_, rest) = answer
        .split_once(&begin)
        .with_context(|| format!("{name} is not in {answer}"))?;
    Ok(rest.split('"').next().unwrap_or_default())
}

#[test]
fn snapshots_now_list_file_read_in_ranges() {
    story(3, |cluster| {
        let mut client = Resp::to(cluster, cluster.follower()?)?;
        for number in 0..50 {
            client.ask(&["set", &format!("k{number}"), &"x".repeat(1_000)])?;
        }
        ensure!(client.ask(&["RAFT", "SNAPSHOT", "LIST"])? == "[]");
        let taken = client.ask(&["RAFT", "SNAPSHOT", "NOW"])?;
        let id = value(&taken, "id")?.to_owned();
        let size: usize = value(&taken, "size")?.parse()?;
        value(&taken, "timestamp")?.parse::<u64>()?;
        ensure!(client.ask(&["RAFT", "SNAPSHOT", "LIST"])? == format!("[{taken}]"));
        let again = client.ask(&["RAFT", "SNAPSHOT", "NOW"])?;
        ensure!(
            again.starts_with("-ERR nothing new to snapshot")
                || again.starts_with("-ERR in progress"),
            "{again}"
        );

        let file = client.ask(&["RAFT", "SNAPSHOT", "FILE", &id])?;
        let bytes = std::fs::read(cluster.directory().join(file.trim_matches('"')))?;
        ensure!(
            bytes.len() == size,
            "{size} bytes were told, {} are there",
            bytes.len()
        );
        let shown = |bytes: &[u8]| format!("\"{}\"", bytes.escape_ascii());
        let whole = client.ask(&["RAFT", "SNAPSHOT", "READ", &id])?;
        ensure!(
            whole == shown(&bytes),
            "it is read otherwise than it lies there"
        );
        for start in (0..size).step_by(7_001) {
            let end = (start + 7_001).min(size);
            let range = [&start.to_string(), &end.to_string()];
            let piece =
                client.ask(&["RAFT", "SNAPSHOT", "READ", &id, "RANGE", range[0], range[1]])?;
            ensure!(piece == shown(&bytes[start..end]), "{start} to {end}");
        }
        for id in ["../../pki/ca-key.pem", "..", "", "1-1-1"] {
            for words in [&["FILE"][..], &["READ"]] {
                let answer = client.ask(&["RAFT", "SNAPSHOT", words[0], id])?;
                ensure!(answer.starts_with("-ERR"), "{id}: {answer}");
            }
        }
        Ok(())
    });
}

#[test]
fn expiry() {
    story(3, |cluster| {
        let mut clients = Vec::new();
        for id in cluster.ids() {
            clients.push(Resp::to(cluster, id)?);
        }
        ensure!(clients[0].ask(&["set", "k", "v", "EX", "1"])? == "+OK");
        ensure!(clients[1].ask(&["set", "stays", "v"])? == "+OK");
        for client in &mut clients {
            wait_for("the key is gone", PATIENCE, || {
                client
                    .ask(&["get", "k"])
                    .is_ok_and(|answer| answer == "nil")
            })?;
            ensure!(client.ask(&["get", "stays"])? == "\"v\"");
        }
        // It is removed by one entry, which every node applies.
        wait_for("its rows are gone", PATIENCE, || {
            clients[2]
                .ask(&["dbsize"])
                .is_ok_and(|answer| answer == ":1")
        })?;
        cluster.compare_digests()?;
        Ok(())
    });
}
