//! `hostctl`, the command line of hostd: one file per command, each turning its arguments into calls of the library
//! and the answers into text or JSON.
//!
//! Exit codes: 0 done; 2 wrong usage, or not built yet; otherwise what
//! [`CallError::exit_code`](hostd_protocol::CallError::exit_code) says.

#![forbid(unsafe_code)]

mod args;
mod bench;
mod call;
mod commands;
mod completion;
mod connect;
mod exit;
mod log;
mod member;
mod output;
mod pki;
mod plugin;
mod policy;
mod reply;
mod snapshot;
mod status;
mod template;
mod token;
mod user;
mod verify;
mod watch;

use std::process::ExitCode;

use clap::Parser;

use args::{Arguments, Command};
use exit::Exit;

fn main() -> ExitCode {
    let Arguments { global, command } = Arguments::parse();
    let done = match command {
        Command::Call(call) => run_here(call::run(&global, call)),
        Command::Commands(commands) => run_here(commands::run(&global, commands)),
        Command::Status => run_here(status::run(&global)),
        Command::Verify => run_here(verify::run(&global)),
        Command::Watch(watch) => run_here(watch::run(&global, watch)),
        Command::Member(member) => run_here(member::run(&global, member)),
        Command::Pki(command) => pki::run(&global, command),
        Command::Policy(command) => run_here(policy::run(&global, command)),
        Command::User(command) => run_here(user::run(&global, command)),
        Command::Bench(arguments) => bench::run(&global, arguments),
        Command::Log(command) => log::run(&global, command),
        Command::Plugin(command) => plugin::run(&global, command),
        Command::Completion { shell } => completion::run(shell),
        Command::Token(command) => run_here(token::run(&global, command)),
        Command::Snapshot(command) => run_here(snapshot::run(&global, command)),
        Command::Store(_) => Err(Exit::not_built("store")),
        Command::Pull(_) => Err(Exit::not_built("pull")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => exit.report(),
    }
}

/// Runs a command that makes a call or two: one thread is enough, and quickest to start.
fn run_here(command: impl Future<Output = Result<(), Exit>>) -> Result<(), Exit> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Exit::Io)?
        .block_on(command)
}
