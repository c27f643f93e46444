//! What `hostctl` prints and how it exits, as snapshots: `tests/cmd` without a server,
//! `tests/cmd-server` against a make-believe cluster of three nodes.
//!
//! `TRYCMD=overwrite cargo test -p hostctl --test hostctl` writes them anew.

#[path = "../../client/tests/support/mod.rs"]
mod support;

use std::io::Write;
use std::process::{Command, Stdio};

use support::World;
use tempfile::TempDir;

#[test]
fn without_a_server() {
    trycmd::TestCases::new()
        .env("HOSTCTL_SERVER", "127.0.0.1:1")
        .env("HOSTCTL_PKI", "./data/pki")
        .case("tests/cmd/*.trycmd");
}

#[test]
fn against_a_cluster() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let world = runtime.block_on(World::new(3));
    let servers: Vec<_> = world
        .nodes
        .iter()
        .map(|node| node.proxy.address().to_string())
        .collect();
    trycmd::TestCases::new()
        .env("HOSTCTL_SERVER", servers.join(","))
        .env("HOSTCTL_PKI", world.pki.path().to_str().unwrap())
        .case("tests/cmd-server/*.trycmd")
        .run();
    drop(runtime);
}

fn hostctl() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hostctl"));
    command
        .env_remove("HOSTCTL_SERVER")
        .env_remove("HOSTCTL_PKI")
        .stdin(Stdio::null());
    command
}

#[test]
fn certificates_are_made_issued_and_shown() {
    let parent = TempDir::new().unwrap();
    let dir = parent.path().join("pki");
    let run = |arguments: &[&str]| {
        let output = hostctl()
            .arg("--pki")
            .arg(&dir)
            .args(["-o", "json", "pki"])
            .args(arguments)
            .output()
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), output.stdout, error)
    };
    let (code, _, error) = run(&["show"]);
    assert_eq!(code, 1);
    assert!(error.starts_with("pki: no pki directory at "), "{error}");

    assert_eq!(run(&["init"]).0, 0);
    let (code, _, error) = run(&["init"]);
    assert_eq!(code, 1);
    assert!(error.contains("already there"), "{error}");

    assert_eq!(run(&["issue", "alice"]).0, 0);
    assert_eq!(run(&["issue", "--node", "2"]).0, 0);
    assert_eq!(run(&["issue", "node-3", "--node", "3"]).0, 0);
    // Whatever it is called, a node finds its files by its number.
    assert_eq!(run(&["issue", "west", "--node", "4"]).0, 0);
    assert_eq!(run(&["issue", "alice"]).0, 1);
    assert_eq!(run(&["issue", "alice", "--replace"]).0, 0);
    for usage in [
        ["issue", "node-9"].as_slice(),
        &["issue", "../x"],
        &["issue", "--node", "0"],
        &["issue"],
    ] {
        assert_eq!(run(usage).0, 2, "{usage:?}");
    }

    let (code, shown, _) = run(&["show"]);
    assert_eq!(code, 0);
    let shown: serde_json::Value = serde_json::from_slice(&shown).unwrap();
    let files: Vec<_> = shown
        .as_array()
        .unwrap()
        .iter()
        .map(|info| {
            assert_eq!(info["valid"], true);
            info["file"].as_str().unwrap().rsplit('/').next().unwrap()
        })
        .collect();
    assert_eq!(
        files,
        [
            "ca.pem",
            "admin.pem",
            "alice.pem",
            "node-2.pem",
            "node-3.pem",
            "node-4.pem"
        ]
    );
}

#[test]
fn a_closed_pipe_is_no_error() {
    let mut child = hostctl()
        .args(["completion", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert!(output.status.success());
}

#[test]
fn an_argument_can_come_from_standard_input_and_bytes_go_through_unchanged() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let world = runtime.block_on(World::new(1));
    let call = |arguments: &[&str], input: &[u8]| {
        let mut child = hostctl()
            .arg("-s")
            .arg(world.node(1).proxy.address().to_string())
            .arg("--pki")
            .arg(world.pki.path())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || stdin.write_all(input).unwrap());
            child.wait_with_output().unwrap()
        })
    };
    let bytes = [0, 159, 146, 150, b'\n'];
    let output = call(&["call", "echo", "--stdin"], &bytes);
    assert_eq!(output.stdout, [bytes.as_slice(), b"\n"].concat());
    let output = call(&["call", "echo", "--stdin", "-o", "json"], &bytes);
    assert_eq!(output.stdout, b"{\"base64\":\"AJ+Slgo=\"}\n");

    let huge = vec![b'x'; 100 << 20];
    let output = call(&["call", "echo", "--stdin"], &huge);
    assert_eq!(output.status.code(), Some(3));
    assert!(output.stderr.starts_with(b"too_large: "));
}

#[test]
fn a_benchmark_reports_figures_and_errors() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let world = runtime.block_on(World::new(1));
    let bench = |arguments: &[&str]| {
        hostctl()
            .arg("-s")
            .arg(world.node(1).proxy.address().to_string())
            .arg("--pki")
            .arg(world.pki.path())
            .args(["-o", "json", "bench"])
            .args(arguments)
            .output()
            .unwrap()
    };
    let output = bench(&[
        "ticket",
        "--clients",
        "3",
        "--in-flight",
        "4",
        "--count",
        "500",
    ]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["calls"], 500);
    assert_eq!(report["errors"], serde_json::json!({}));
    assert!(report["calls_per_second"].as_f64().unwrap() > 0.0);
    let latency = &report["latency_us"];
    let figures: Vec<_> = ["min", "p50", "p90", "p99", "p99.9", "max"]
        .iter()
        .map(|name| latency[name].as_u64().unwrap())
        .collect();
    assert!(figures.is_sorted(), "{figures:?}");
    assert_eq!(world.cluster.state().tickets, 500);
    assert_eq!(world.seen("OpenSession"), 3);
    assert_eq!(world.cluster.open_sessions(), 0);

    // Nothing but errors is an error.
    let output = bench(&["refuse", "--count", "5"]);
    assert_eq!(output.status.code(), Some(4));
    assert_eq!(output.stderr, b"rejected: BUSY not today\n");
}
