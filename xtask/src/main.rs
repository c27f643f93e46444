//! hostd's chores: `cargo xtask demo`, `test`, `build`, `plugins`, `sim`, `nemesis`, `fuzz`, `bench`.

#![forbid(unsafe_code)]

mod bench;
mod build;
mod check;
mod demo;
mod fuzz;
mod nemesis;
mod plugins;
mod run;
mod sim;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// hostd's chores
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Starts three nodes, kills the leader in the middle of a load, and shows that nothing is lost
    Demo(demo::Options),
    /// Runs everything that CI runs, or only some steps of it
    Test(check::Options),
    /// Builds hostd, hostctl (release) and the plugins
    Build,
    /// Builds plugins/ into target/plugins/NAME.wasm
    Plugins(plugins::Options),
    /// Simulates clusters: passes its arguments to the simulator
    Sim(sim::Options),
    /// Measures: passes its arguments to the bench
    Bench(bench::Options),
    /// Looks for inputs that break decoders, plugin upload or host calls
    Fuzz(fuzz::Options),
    /// Harms a cluster of real processes and checks what clients saw: passes its arguments to the
    /// nemesis
    Nemesis(nemesis::Options),
}

fn main() -> ExitCode {
    if let Some(code) = fuzz::as_rustc() {
        return code;
    }
    let done = match Arguments::parse().chore {
        Chore::Demo(options) => demo::run(&options),
        Chore::Test(options) => check::run(&options),
        Chore::Build => build::everything(),
        Chore::Plugins(options) => plugins::run(&options),
        Chore::Sim(options) => sim::run(&options),
        Chore::Bench(options) => bench::run(&options),
        Chore::Fuzz(options) => fuzz::run(&options),
        Chore::Nemesis(options) => nemesis::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
