//! The simulator itself: a seed is one run and no other, and seeds that once found something still
//! run through.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn plugins() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_hostd-sim"))
        .ancestors()
        .nth(2)
        .unwrap()
        .join("plugins")
}

/// Runs one seed.
fn one(flags: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_hostd-sim"))
        .arg("one")
        .args(flags)
        .arg("--plugins")
        .arg(plugins())
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&output.stderr));
    })
}

#[test]
fn a_seed_is_the_same_run_byte_for_byte() {
    for seed in ["3", "11", "29"] {
        let (first, second) = (one(&["--seed", seed]), one(&["--seed", seed]));
        assert_eq!(first, second, "seed {seed}");
        assert_ne!(first["trace"], one(&["--seed", "4"])["trace"]);
    }
}

#[test]
fn leaving_out_what_goes_wrong_leaves_the_rest_as_it_was() {
    let all = one(&["--seed", "11"]);
    let some = one(&["--seed", "11", "--events", "0,2"]);
    assert_eq!(some["events"], serde_json::json!([0, 2]));
    assert!(all["events"].as_array().unwrap().len() > 2);
    let none = one(&["--seed", "11", "--events", "none"]);
    assert_eq!(none["events"], serde_json::json!([]));
}

/// Seeds that found something, by what it was. With a clock that jumps, a key was forgotten; the
/// others were faults of the simulator's own idea of what may happen.
#[test]
fn seeds_that_once_found_something_run_through() {
    for (seed, what) in [
        (
            "5",
            "an idempotency key was forgotten because a clock was set forward",
        ),
        (
            "23",
            "adopting the leader of a term is no second vote in it",
        ),
        (
            "72",
            "a wrong read while a file is opened may lead to a repair that loses a commit",
        ),
        (
            "30",
            "clients must not lose every node that they were told of",
        ),
        (
            "11349",
            "a node believed a deposed leader that it had joined",
        ),
        (
            "195",
            "a member that was being replaced was left behind by newer rules",
        ),
    ] {
        let outcome = one(&["--seed", seed]);
        assert_eq!(outcome["violation"], Value::Null, "seed {seed}: {what}");
    }
}

/// A write that a leader had been asked, and whose answer was lost, was told to have failed for
/// certain because the next node to ask could not be reached.
#[test]
fn what_an_attempt_left_open_a_later_refusal_does_not_settle() {
    let kinds = "plugin-upgrade,plugin-migrate,plugin-rollback,plugin-limits,power-loss,transfer,\
                 snapshot,restart,join";
    let outcome = one(&["--seed", "367", "--only", kinds]);
    assert_eq!(outcome["violation"], Value::Null);
}

/// A node that joined while another change of the membership waited for its majority was refused for
/// good (104); an operator who did not hear whether a node was removed left it there (73).
#[test]
fn changes_of_the_membership_that_are_stuck_are_asked_for_again() {
    let kinds = "hostd-upgrade,reseed,power-loss,isolate,join,remove,demote-and-promote,snapshot,\
                 flip-value,transfer";
    for seed in ["73", "104"] {
        let outcome = one(&["--seed", seed, "--only", kinds]);
        assert_eq!(outcome["violation"], Value::Null, "seed {seed}");
    }
}

#[test]
fn a_planted_bug_is_found() {
    let found = (1..=20).find_map(|seed| {
        let outcome = one(&["--seed", &seed.to_string(), "--plant", "forget-vote"]);
        outcome["check"].as_str().map(str::to_owned)
    });
    assert_eq!(found.as_deref(), Some("election safety"));
}

#[test]
fn a_failure_is_shrunk_to_what_it_needs_and_shown_again() {
    let output = Command::new(env!("CARGO_BIN_EXE_hostd-sim"))
        .args(["run", "--seed", "1", "--iterations", "20"])
        .args(["--plant", "forget-vote", "--shrink", "--plugins"])
        .arg(plugins())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stdout).unwrap();
    let after = |start: &str| {
        let mut lines = said.lines().rev();
        let line = lines.find_map(|line| line.strip_prefix(start));
        line.unwrap_or_else(|| panic!("no {start:?} in {said}"))
    };
    let replay = after("replay: cargo xtask sim one ");
    let flags: Vec<&str> = replay.split(' ').filter(|flag| *flag != "--loud").collect();
    let again = one(&flags);
    assert_eq!(again["check"], "election safety", "{replay}");
    // A vote can only be forgotten by who dies, and it takes two votes.
    let all = after("shrinking seed ").split(' ').nth(1).unwrap();
    let needed = again["events"].as_array().unwrap().len();
    assert!(needed < all.parse().unwrap(), "{needed} of {all} events");
    for event in again["events"].as_array().unwrap() {
        let listed = format!("  event {event}: ");
        assert!(said.contains(&listed), "{listed:?} is not in {said}");
    }
}

#[test]
fn what_does_not_exist_is_named() {
    let output = Command::new(env!("CARGO_BIN_EXE_hostd-sim"))
        .args(["run", "--only", "earthquake"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("hostd-sim list"), "{said}");
}
