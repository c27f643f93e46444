//! The steps, in the order in which they run: what fails fast comes first, what needs the built
//! binaries comes after the build.

use std::{process::Command, time::Duration};

use anyhow::Result;

use super::{Outcome, boundaries};
use crate::{build, demo, plugins, run, sim};

/// No command of a step takes half as long, not even one that builds everything.
const HANGS_AFTER: Duration = Duration::from_mins(30);

/// One step.
pub(crate) struct Step {
    /// What to type to run it alone.
    pub(crate) name: &'static str,
    /// What it checks.
    pub(crate) what: &'static str,
    /// Runs it.
    pub(crate) run: fn() -> Result<Outcome>,
}

/// All of them.
pub(crate) const STEPS: &[Step] = &[
    Step {
        name: "fmt",
        what: "the code is formatted",
        run: fmt,
    },
    Step {
        name: "boundaries",
        what: "crates reach only what they may",
        run: check_boundaries,
    },
    Step {
        name: "deny",
        what: "licences and sources of dependencies",
        run: deny,
    },
    Step {
        name: "plugins",
        what: "plugins and fixtures build",
        run: build_plugins,
    },
    Step {
        name: "build",
        what: "hostd and hostctl build",
        run: build_binaries,
    },
    Step {
        name: "unit",
        what: "unit, golden and documentation tests of every crate",
        run: unit,
    },
    Step {
        name: "cluster",
        what: "stories with real processes",
        run: cluster,
    },
    Step {
        name: "conformance",
        what: "other people's clients, and golden exchanges, against real nodes",
        run: conformance,
    },
    Step {
        name: "nemesis",
        what: "real processes under injected faults, for a fixed time",
        run: nemesis,
    },
    Step {
        name: "sim",
        what: "simulated clusters: tests of the simulator, regression seeds, and 300 others",
        run: simulate,
    },
    Step {
        name: "demo",
        what: "the demo runs through",
        run: run_demo,
    },
    Step {
        name: "clippy",
        what: "no lints",
        run: clippy,
    },
    Step {
        name: "doc",
        what: "the documentation builds without warnings",
        run: doc,
    },
];

fn passed(result: Result<()>) -> Result<Outcome> {
    result.map(|()| Outcome::Passed)
}

fn run(command: &mut Command) -> Result<()> {
    run::run_within(HANGS_AFTER, command)
}

fn cargo(arguments: &[&str]) -> Result<Outcome> {
    passed(run(&mut run::cargo(arguments)))
}

fn fmt() -> Result<Outcome> {
    cargo(&["fmt", "--all", "--check"])
}

fn check_boundaries() -> Result<Outcome> {
    passed(boundaries::check())
}

/// Only where it is installed: building it takes minutes. Advisories need the network and change
/// without a change here, so they are not part of the tests.
fn deny() -> Result<Outcome> {
    let installed = run::cargo(&["deny", "--version"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !installed {
        let how = "cargo-deny is not installed; `cargo install --locked cargo-deny` brings it";
        return Ok(Outcome::Skipped(how.into()));
    }
    cargo(&["deny", "--offline", "check", "licenses", "bans", "sources"])
}

fn build_plugins() -> Result<Outcome> {
    eprintln!("$ cargo xtask plugins --all");
    passed(plugins::build_all())
}

fn build_binaries() -> Result<Outcome> {
    passed(build::binaries())
}

fn unit() -> Result<Outcome> {
    cargo(&[
        "test",
        "--release",
        "--workspace",
        "--exclude",
        "cluster-tests",
        "--exclude",
        "conformance-tests",
        "--exclude",
        build::SIMULATION,
        "--exclude",
        "hostd-nemesis",
        "--no-fail-fast",
    ])
}

/// Two at a time: each runs three nodes and a load. Chosen by the test's name among the whole
/// workspace, for the same dependencies as everywhere; see [`build::binaries`].
fn cluster() -> Result<Outcome> {
    let choice = [
        "--workspace",
        "--exclude",
        build::SIMULATION,
        "--test",
        "stories",
    ];
    let mut command = run::cargo(&["test", "--release"]);
    passed(run(command.args(choice).args(["--", "--test-threads=2"])))
}

/// One at a time: a client's three nodes and its own build are enough. Chosen by name as the stories are.
fn conformance() -> Result<Outcome> {
    let choice = [
        "--workspace",
        "--exclude",
        build::SIMULATION,
        "--test",
        "clients",
        "--test",
        "exchanges",
    ];
    let mut command = run::cargo(&["test", "--release"]);
    passed(run(command.args(choice).args(["--", "--test-threads=1"])))
}

/// Its unit tests, then the nemesis itself, with what it prints. Chosen by name as the stories
/// are.
fn nemesis() -> Result<Outcome> {
    let choice = [
        "--workspace",
        "--exclude",
        build::SIMULATION,
        "--bin",
        "nemesis",
        "--test",
        "nemesis",
    ];
    let mut command = run::cargo(&["test", "--release"]);
    passed(run(command.args(choice).args(["--", "--nocapture"])))
}

/// The seeds are always the same ones, so that a failure is one of the code.
fn simulate() -> Result<Outcome> {
    sim::build()?;
    let mut command = run::cargo(&["test", "--release"]);
    let command = command
        .args(sim::choice())
        .args(["--bin", "hostd-sim", "--test", "runs"]);
    run(command)?;
    passed(run(&mut sim::simulator(&["--iterations", "300"])))
}

fn run_demo() -> Result<Outcome> {
    eprintln!("$ cargo xtask demo");
    passed(demo::run(&demo::Options::default()))
}

fn clippy() -> Result<Outcome> {
    cargo(&[
        "clippy",
        "--release",
        "--workspace",
        "--all-targets",
        "--features",
        build::SIMULATION_FEATURES,
        "--",
        "-D",
        "warnings",
    ])
}

fn doc() -> Result<Outcome> {
    let mut command = run::cargo(&["doc", "--release", "--workspace", "--no-deps"]);
    passed(run(command.env("RUSTDOCFLAGS", "-D warnings")))
}
