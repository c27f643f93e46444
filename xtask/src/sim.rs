//! `cargo xtask sim`: builds the simulator and runs it.

use std::process::Command;

use anyhow::{Result, bail};
use cluster_tests::target_directory;

use crate::{build, plugins, run};

/// `cargo xtask sim`
#[derive(clap::Args)]
pub(crate) struct Options {
    /// What the simulator is told: `--seed S`, `--iterations N`, `--minutes M`, `--shrink`; or one of
    /// its commands, `one`, `bugs`, `list`; `cargo xtask sim -- --help` explains them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds and runs it.
pub(crate) fn run(options: &Options) -> Result<()> {
    build()?;
    plugins::build_all()?;
    simulate(&options.arguments)
}

/// The simulator, with its bugs. Chosen among the whole workspace, for the same dependencies as
/// everywhere; see [`build::binaries`].
pub(crate) fn build() -> Result<()> {
    let mut command = run::cargo(&["build", "--release"]);
    run::run(command.args(choice()).args(["--bin", "hostd-sim"]))
}

/// What chooses the simulator for cargo.
pub(crate) fn choice() -> [&'static str; 5] {
    [
        "--workspace",
        "--exclude",
        "xtask",
        "--features",
        build::SIMULATION_FEATURES,
    ]
}

/// Runs the simulator that is built.
fn simulate<S: AsRef<str>>(arguments: &[S]) -> Result<()> {
    let mut command = simulator(arguments);
    eprintln!("$ {}", run::as_typed(&command));
    if !command.status()?.success() {
        bail!("the simulator found something; it says what, and how to see it again");
    }
    Ok(())
}

/// The simulator that is built, and what it is told.
pub(crate) fn simulator<S: AsRef<str>>(arguments: &[S]) -> Command {
    let directory = target_directory();
    let mut command = Command::new(directory.join("release/hostd-sim"));
    let arguments: Vec<&str> = arguments.iter().map(AsRef::as_ref).collect();
    let commands = ["run", "one", "bugs", "list", "help", "--help", "-h"];
    if !arguments
        .first()
        .is_some_and(|first| commands.contains(first))
    {
        command.arg("run");
    }
    command.args(&arguments);
    let takes_plugins = !arguments
        .iter()
        .any(|argument| ["list", "help", "--help", "-h", "--plugins"].contains(argument));
    if takes_plugins {
        command.arg("--plugins").arg(directory.join("plugins"));
    }
    command
}
