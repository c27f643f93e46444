//! The binaries under test and the plugins.

use anyhow::Result;

use crate::{plugins, run};

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
