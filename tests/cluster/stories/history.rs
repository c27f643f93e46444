//! Looking back: the log for people, versions that are tried before they run, the state as it was.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use cluster_tests::{Artifacts, Hostctl, PATIENCE};
use serde_json::Value;

use crate::support::{copy_directory, story};

fn fixture(name: &str) -> Result<String> {
    let file = Artifacts::locate()?.plugin(name)?;
    Ok(file.to_string_lossy().into_owned())
}

fn lines(hostctl: &Hostctl, words: &[&str]) -> Result<Vec<Value>> {
    let words: Vec<&str> = ["log", "show"].iter().chain(words).copied().collect();
    let found = hostctl.json(&words)?;
    found.as_array().cloned().context("no array")
}

/// Lines that are calls of a command.
fn calls<'a>(lines: &'a [Value], command: &str) -> Vec<&'a Value> {
    let is = |line: &&Value| line["command"] == command;
    lines.iter().filter(is).collect()
}

#[test]
fn the_log_tells_who_did_what_and_keeps_secrets() {
    story(3, |cluster| {
        let hostctl = cluster.hostctl();
        hostctl.ok(["plugin", "install", &fixture("scripted")?])?;
        hostctl.call(&["set", "greeting", "two words"])?;
        hostctl.call(&["ticket"])?;
        hostctl.call(&["hide", "/path", "a-secret-value"])?;
        let refused = hostctl.run(["call", "incr", "greeting"])?;
        refused.refused(4, "rejected")?;

        for id in cluster.ids() {
            let hostctl = cluster.hostctl_directly_at(id)?;
            // A follower applies what the others have acknowledged a moment later.
            hostctl.call(&["get", "greeting"])?;
            let all = lines(&hostctl, &[])?;
            let set = calls(&all, "set");
            ensure!(set.len() == 1, "{all:?}");
            ensure!(set[0]["principal"] == "admin" && set[0]["plugin"] == "kv");
            ensure!(set[0]["arguments"] == serde_json::json!(["greeting", "two words"]));
            ensure!(set[0]["outcome"]["ok"] == "OK");
            ensure!(set[0]["fuel"].as_u64().is_some_and(|fuel| fuel > 0));
            let incr = calls(&all, "incr");
            ensure!(incr[0]["outcome"]["error"] == "rejected", "{incr:?}");

            let hidden = calls(&all, "hide");
            ensure!(hidden[0]["arguments"] == serde_json::json!(["/path", null]));
            let text = hostctl.ok(["log", "show"])?;
            ensure!(text.contains("scripted.hide /path (secret)"), "{text}");
            ensure!(!text.contains("a-secret-value"), "{text}");

            // Indexes rise, and are those of the other nodes.
            let places: Vec<_> = all
                .iter()
                .map(|line| (line["index"].as_u64(), line["offset"].as_u64()))
                .collect();
            ensure!(places.is_sorted_by(|one, next| one < next), "{places:?}");

            let index = set[0]["index"].to_string();
            let some = lines(
                &hostctl,
                &["--plugin", "kv", "--from", &index, "--count", "1"],
            )?;
            ensure!(some.len() == 1 && some[0] == *set[0], "{some:?}");
        }
        Ok(())
    });
}

#[test]
fn a_dry_run_shows_what_would_differ_and_changes_nothing() {
    story(3, |cluster| {
        let hostctl = cluster.hostctl().timeout("40s");
        let (present, next) = (fixture("tally")?, fixture("tally-keys")?);
        hostctl.ok(["plugin", "install", &present])?;
        for by in 1..=20 {
            hostctl.call(&["count", "a", &by.to_string()])?;
        }
        hostctl.call(&["stamp"])?;
        let logged = lines(&hostctl, &[])?.len();

        let dry = |file: &str, more: &[&str]| {
            let words = ["plugin", "upgrade", file, "--dry-run"];
            hostctl.run(words.iter().chain(more))
        };
        // The same code behaves alike.
        let told = dry(&present, &[])?.ok()?;
        ensure!(told.contains("no differences"), "{told}");
        ensure!(told.contains("the last 21 of 21 calls"), "{told}");

        // Another version tells its own number, and nothing else differs.
        let told = dry(&next, &["--last", "5", "-o", "json"])?;
        ensure!(told.code == Some(4), "{told:?}");
        let told: Value = serde_json::from_str(&told.stdout)?;
        ensure!(told["calls"] == 5 && told["available"] == 21, "{told}");
        ensure!(told["differing"] == 1, "{told}");
        let difference = &told["differences"][0];
        ensure!(difference["call"] == "tally.stamp", "{told}");
        ensure!(difference["outcome"]["present"]["ok"] == "1.0.0", "{told}");
        ensure!(
            difference["outcome"]["candidate"]["ok"] == "2.0.0",
            "{told}"
        );

        // What cannot take over says why.
        dry(&fixture("hostile")?, &[])?.refused(3, "invalid_argument")?;
        let garbage = cluster.directory().join("garbage.wasm");
        std::fs::write(&garbage, b"\0asm and then nothing")?;
        dry(&garbage.to_string_lossy(), &[])?.refused(3, "invalid_argument")?;

        ensure!(lines(&hostctl, &[])?.len() == logged);
        ensure!(hostctl.call(&["version"])? == "1.0.0");
        ensure!(hostctl.call(&["total", "a"])? == "210");
        Ok(())
    });
}

#[test]
fn a_copy_of_the_files_tells_the_state_at_any_entry() {
    story(1, |cluster| {
        let hostctl = cluster.hostctl();
        for value in ["one", "two", "three"] {
            hostctl.call(&["set", "key", value])?;
        }
        let all = lines(&hostctl, &[])?;
        let indexes: Vec<String> = calls(&all, "set")
            .iter()
            .map(|line| line["index"].to_string())
            .collect();
        cluster.node(1)?.stop(PATIENCE)?;
        let copy: PathBuf = cluster.directory().join("copy");
        copy_directory(&cluster.data(), &copy)?;
        let copy = copy.to_string_lossy().into_owned();
        let hostctl = cluster.hostctl();
        let replay = |until: &str, words: &[&str]| {
            let start = ["log", "replay", "--data", &copy, "--until", until];
            hostctl.run(start.iter().chain(words))
        };
        // In any order: the copy stays as it is.
        for (at, value) in [(2, "three"), (0, "one"), (1, "two")] {
            ensure!(replay(&indexes[at], &["get", "key"])?.ok()? == value);
        }
        let before: u64 = indexes[0].parse::<u64>()? - 1;
        ensure!(replay(&before.to_string(), &["exists", "key"])?.ok()? == "0");
        replay(&indexes[0], &["set", "key", "x"])?.refused(6, "read_only")?;
        let told = replay("999999", &["get", "key"])?.refused(3, "invalid_argument")?;
        ensure!(told.contains("not among them"), "{told}");
        let nowhere = ["log", "replay", "--data", "/nowhere", "get", "key"];
        hostctl.run(nowhere)?.refused(3, "invalid_argument")?;
        // The node itself goes on as if nothing had been.
        cluster.restart(1)?;
        ensure!(cluster.hostctl().call(&["get", "key"])? == "three");
        Ok(())
    });
}
