//! Harms a cluster of real hostd processes on this machine while clients use it, and checks what
//! the clients saw. `cargo xtask nemesis` builds everything and runs it.
//!
//! `schedule` decides by a seed which faults come when, `fault` has one file per fault, `field` is
//! what they are injected into: the cluster with its network, disks and clocks. `workload` has one
//! file per kind of client, `check` judges what they recorded, `report` prints. It knows hostd
//! only from outside, through the binaries and the client library.
//!
//! A run has namespaces of its own (`world`): whatever ends it, no process, mount or network of
//! it is left.

#![forbid(unsafe_code)]

mod check;
mod fault;
mod field;
mod meter;
mod options;
mod random;
mod report;
mod run;
mod schedule;
mod timeline;
mod workload;
mod world;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;

use options::{Arguments, Options, Part};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.part {
        Some(Part::Relay { front, target }) => field::pass_on(front, target),
        None => start(&arguments.options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(options: &Options) -> Result<()> {
    let world = world::enter()?;
    run::run(options, world)
}
