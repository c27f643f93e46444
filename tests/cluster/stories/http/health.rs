//! What a cluster says of itself when it is well, when it is not, and when it stops.

use anyhow::{Result, ensure};
use cluster_tests::{PATIENCE, Signal, wait_for};

use crate::support::http::{ask, call, dial, get};
use crate::support::story;

#[test]
fn without_a_leader_every_reply_is_an_error() {
    story(3, |cluster| {
        let address = cluster.address(1)?;
        ensure!(call(&address, "kv/set", r#"["k", "v"]"#)?.status == 200);
        ensure!(get(&address, "/readyz")?.status == 200);
        for id in [2, 3] {
            cluster.node(id)?.kill()?;
        }
        for (what, answer) in [
            (
                "a write",
                call(&address, "kv/set?timeout_ms=1000", r#"["k", "w"]"#)?,
            ),
            (
                "a write of a key",
                call(&address, "kv/del?timeout_ms=1000", r#"["k"]"#)?,
            ),
            (
                "a read",
                get(&address, "/v1/call/kv/get?arg=k&timeout_ms=1000")?,
            ),
            (
                "a missing key",
                get(&address, "/keys/missing?timeout_ms=1000")?,
            ),
            (
                "an unknown command",
                call(&address, "kv/nothing?timeout_ms=1000", "[]")?,
            ),
        ] {
            ensure!(
                answer.status == 503,
                "{what}: {} {}",
                answer.status,
                answer.text()
            );
            ensure!(
                answer.header("retry-after").is_some(),
                "{what} says when to try again"
            );
            let told = answer.text();
            let typed = ["no_leader", "no_quorum", "timeout"];
            ensure!(
                typed.iter().any(|code| told.contains(code)),
                "{what}: {told}"
            );
        }
        // What a node knows by itself, it says all the same.
        ensure!(get(&address, "/v1/call/kv/get?arg=k&read=stale")?.text() == "\"v\"");
        ensure!(get(&address, "/livez")?.status == 200);
        wait_for("readyz says what is wrong", PATIENCE, || {
            get(&address, "/readyz").is_ok_and(|answer| {
                answer.status == 503 && answer.text().contains("[-]raft failed")
            })
        })?;
        cluster.restart(2)?;
        wait_for("it is ready again", PATIENCE, || {
            get(&address, "/readyz").is_ok_and(|answer| answer.status == 200)
        })?;
        ensure!(get(&address, "/keys/missing")?.status == 404);
        Ok(())
    });
}

#[test]
fn a_node_that_stops_ends_idle_connections_without_a_reset() {
    use std::io::{Read as _, Write as _};

    story(1, |cluster| {
        let address = cluster.address(1)?;
        // A connection that stays open behind its answer.
        let mut idle = dial(&address)?;
        let request = format!("GET /livez HTTP/1.1\r\nHost: {address}\r\n\r\n");
        idle.write_all(request.as_bytes())?;
        let mut answer = [0; 17];
        idle.read_exact(&mut answer)?;
        ensure!(answer == *b"HTTP/1.1 200 OK\r\n");
        let node = cluster.node(1)?;
        node.signal(Signal::Term)?;
        node.wait_stopped(PATIENCE)?;
        let mut rest = Vec::new();
        // It ends without a reset, for a client that was not asking.
        idle.read_to_end(&mut rest)?;
        Ok(())
    });
}

/// Names with their values: a strict reading of the text format of OpenMetrics 1.0.
fn samples(text: &str) -> Result<Vec<(String, f64)>> {
    let mut samples: Vec<(String, f64)> = Vec::new();
    let mut family = String::new();
    let mut kind = String::new();
    ensure!(text.ends_with("# EOF\n"), "it ends as it must");
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# ") {
            let words: Vec<_> = rest.splitn(3, ' ').collect();
            match words.as_slice() {
                ["TYPE", name, told] => {
                    ensure!(*name == family, "HELP and TYPE are of one family: {line}");
                    (*told).clone_into(&mut kind);
                }
                ["HELP", name, _] => (*name).clone_into(&mut family),
                ["EOF"] => {}
                _ => anyhow::bail!("a line that is none: {line}"),
            }
            continue;
        }
        let Some((name, value)) = line.rsplit_once(' ') else {
            anyhow::bail!("a line that is none: {line}");
        };
        let bare = name.split('{').next().unwrap_or_default();
        let suffix = bare.strip_prefix(family.as_str());
        let allowed: &[&str] = match kind.as_str() {
            "counter" => &["_total"],
            "gauge" => &[""],
            "histogram" => &["_sum", "_count", "_bucket"],
            _ => &[],
        };
        ensure!(
            suffix.is_some_and(|suffix| allowed.contains(&suffix)),
            "{line} is of a {kind} {family}"
        );
        ensure!(
            samples.iter().all(|(known, _)| known != name),
            "{name} is told once"
        );
        samples.push((name.to_owned(), value.parse()?));
    }
    Ok(samples)
}

fn metrics(address: &str) -> Result<Vec<(String, f64)>> {
    let open = [("Accept", "application/openmetrics-text; version=1.0.0")];
    let answer = ask(address, "GET", "/metrics", &open, b"")?;
    ensure!(answer.status == 200, "{}", answer.text());
    let kind = answer.header("content-type").unwrap_or_default();
    ensure!(kind.starts_with("application/openmetrics-text"), "{kind}");
    samples(&answer.text())
}

fn value(samples: &[(String, f64)], name: &str) -> Result<f64> {
    let found = samples.iter().find(|(known, _)| known == name);
    let (_, value) = found.ok_or_else(|| anyhow::anyhow!("there is no {name}"))?;
    Ok(*value)
}

#[test]
fn metrics_count_calls_and_how_long_they_take() {
    story(3, |cluster| {
        let address = cluster.address(1)?;
        for number in 0..10 {
            ensure!(call(&address, "kv/set", &format!("[\"k\", {number}]"))?.status == 200);
        }
        ensure!(call(&address, "kv/incr", r#"["k"]"#)?.status == 200);
        ensure!(call(&address, "kv/set", r#"["word", "word"]"#)?.status == 200);
        ensure!(call(&address, "kv/incr", r#"["word"]"#)?.status == 409);
        ensure!(call(&address, "kv/nothing", "[]")?.status == 404);
        ensure!(get(&address, "/v1/call/kv/get?arg=k")?.status == 200);
        // Writes that came by the Redis protocol count as well.
        let mut resp = dial(&address)?;
        std::io::Write::write_all(&mut resp, b"SET resp 1\r\nSET resp 2\r\n")?;
        let mut answers = [0; 10];
        std::io::Read::read_exact(&mut resp, &mut answers)?;
        ensure!(answers == *b"+OK\r\n+OK\r\n");
        let told = metrics(&address)?;
        let of = |name: &str| value(&told, name);
        let labelled = |name: &str, command: &str| {
            of(&format!(
                "hostd_{name}{{plugin=\"kv\",command=\"{command}\"}}"
            ))
        };
        ensure!(labelled("command_calls_total", "set")? as u64 == 13);
        ensure!(labelled("command_calls_total", "get")? as u64 == 1);
        ensure!(labelled("command_duration_seconds_count", "set")? as u64 == 13);
        ensure!(labelled("command_duration_seconds_sum", "set")? > 0.0);
        let rejected = |command: &str, code: &str| {
            of(&format!(
                "hostd_command_rejections_total{{{command},code=\"{code}\"}}"
            ))
        };
        ensure!(rejected("plugin=\"kv\",command=\"incr\"", "rejected")? as u64 == 1);
        ensure!(rejected("plugin=\"\",command=\"\"", "unknown_command")? as u64 == 1);
        ensure!(of("hostd_plugin_fuel_total{plugin=\"kv\"}")? > 0.0);
        ensure!(of("hostd_plugin_runs_total{plugin=\"kv\"}")? >= 14.0);
        ensure!(of("hostd_plugin_traps_total{plugin=\"kv\"}")? as u64 == 0);
        ensure!(of("hostd_plugin_keys{plugin=\"kv\"}")? > 0.0);
        ensure!(of("hostd_server_has_leader")? as u64 == 1);
        ensure!(of("hostd_server_proposals_applied_total")? >= 12.0);
        ensure!(of("hostd_server_proposals_committed_total")? >= 12.0);
        ensure!(of("hostd_server_proposals_failed_total")? >= 0.0);
        ensure!(of("hostd_server_proposals_pending")? as u64 == 0);
        ensure!(of("hostd_server_leader_changes_seen_total")? >= 1.0);
        ensure!(of("hostd_disk_wal_fsync_duration_seconds_count")? >= 12.0);
        ensure!(of("hostd_disk_backend_commit_duration_seconds_count")? >= 0.0);
        ensure!(of("hostd_mvcc_db_total_size_in_bytes")? > 0.0);
        let leaders: f64 = cluster
            .addresses()
            .iter()
            .map(|address| value(&metrics(address)?, "hostd_server_is_leader"))
            .sum::<Result<f64>>()?;
        ensure!(leaders as u64 == 1);
        let rtt = "hostd_network_peer_round_trip_time_seconds_count{To=\"2\"}";
        wait_for("the way to a peer is measured", PATIENCE, || {
            metrics(&address).is_ok_and(|told| value(&told, rtt).is_ok_and(|count| count > 0.0))
        })?;
        Ok(())
    });
}
