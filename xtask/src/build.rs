//! The binaries under test and the plugins.

use anyhow::Result;

use crate::{plugins, run};

/// The one crate that asks for more of the others than a program that is used may have: bugs that can
/// be switched on, and a clock that can be stopped. Chosen only by whoever builds the simulator.
pub(crate) const SIMULATION: &str = "hostd-simulation";

/// What the simulator is built with.
pub(crate) const SIMULATION_FEATURES: &str = "hostd-simulation/planted";

/// hostd, hostctl, the bench and the nemesis, optimised: the one profile in which everything is run, so that
/// wasmtime is compiled once.
///
/// Cargo compiles a dependency anew for every set of features that the chosen packages ask for.
/// The choice here, with one test among it, asks for the same as `cargo test --workspace`;
/// `-p hostd` alone would cost minutes for a second wasmtime.
pub(crate) fn binaries() -> Result<()> {
    if let Some(directory) = std::env::var_os("HOSTD_TEST_BIN") {
        eprintln!("not building: HOSTD_TEST_BIN has {}", directory.display());
        return Ok(());
    }
    let choice = [
        "--workspace",
        "--exclude",
        "xtask",
        "--exclude",
        SIMULATION,
        "--bins",
        "--test",
        "stories",
    ];
    let mut command = run::cargo(&["build", "--release"]);
    run::run(command.args(choice))
}

/// The binaries and the plugins.
pub(crate) fn everything() -> Result<()> {
    binaries()?;
    plugins::build_all()
}
