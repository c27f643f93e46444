//! One test for each client, each with a cluster of three nodes.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use cluster_tests::{Cluster, target_directory, workspace_root};

/// Where a client's program is.
fn program(client: &str) -> PathBuf {
    workspace_root()
        .join("tests/conformance/clients")
        .join(client)
}

/// Where a client is installed.
fn installed(client: &str) -> Result<PathBuf> {
    let directory = target_directory().join("conformance").join(client);
    std::fs::create_dir_all(&directory)?;
    Ok(directory)
}

fn run(command: &mut Command, how: &str) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {command:?}; {how}"))?;
    if !output.status.success() {
        bail!(
            "{command:?} failed ({}); {how}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    print!("{}", String::from_utf8_lossy(&output.stdout));
    Ok(())
}

/// Runs a client's own program.
fn check(command: &mut Command) -> Result<()> {
    let cluster = Cluster::of(3, &["ticket", "kv"])?;
    let addresses = cluster.addresses().join(",");
    let command = command
        .env("HOSTD_ADDRESSES", addresses)
        .env("HOSTD_PKI", cluster.pki());
    run(command, "the client found something wrong").with_context(|| cluster.tails(20))
}

fn copy(from: &Path, to: &Path, files: &[&str]) -> Result<()> {
    for file in files {
        std::fs::copy(from.join(file), to.join(file)).with_context(|| format!("copy {file}"))?;
    }
    Ok(())
}

#[test]
fn redis_cli_and_redis_benchmark() -> Result<()> {
    let how = "`apt-get install --no-install-recommends redis-tools` installs it";
    run(Command::new("redis-benchmark").arg("--version"), how)?;
    check(&mut Command::new(program("cli").join("check.sh")))
}

#[test]
fn redis_py() -> Result<()> {
    let (program, directory) = (program("python"), installed("python")?);
    let python = directory.join("bin/python3");
    if !python.exists() {
        let how = "Python 3 with venv is needed";
        run(
            Command::new("python3").args(["-m", "venv"]).arg(&directory),
            how,
        )?;
    }
    let install = ["-m", "pip", "install", "--quiet", "--requirement"];
    let mut install_it = Command::new(&python);
    install_it
        .args(install)
        .arg(program.join("requirements.txt"));
    run(&mut install_it, "it comes from PyPI")?;
    check(Command::new(&python).arg(program.join("check.py")))
}

#[test]
fn node_redis_and_ioredis() -> Result<()> {
    let (program, directory) = (program("node"), installed("node")?);
    copy(&program, &directory, &["package.json", "check.mjs"])?;
    let mut install = Command::new("npm");
    install.args(["install", "--silent", "--no-audit", "--no-fund"]);
    run(
        install.current_dir(&directory),
        "Node.js with npm is needed",
    )?;
    check(
        Command::new("node")
            .arg("check.mjs")
            .current_dir(&directory),
    )
}

#[test]
fn go_redis() -> Result<()> {
    let (program, directory) = (program("go"), installed("go")?);
    copy(&program, &directory, &["go.mod", "go.sum", "main.go"])?;
    let mut build = Command::new("go");
    build.args(["build", "-o", "check", "."]);
    run(build.current_dir(&directory), "Go is needed")?;
    check(&mut Command::new(directory.join("check")))
}

#[test]
fn rust_redis() -> Result<()> {
    let (program, directory) = (program("rust"), installed("rust")?);
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--locked", "--manifest-path"]);
    build.arg(program.join("Cargo.toml"));
    build.arg("--target-dir").arg(&directory);
    run(&mut build, "it comes from crates.io")?;
    let check_it = directory.join("debug/conformance-rust");
    ensure!(check_it.exists(), "{} is missing", check_it.display());
    check(&mut Command::new(check_it))
}
