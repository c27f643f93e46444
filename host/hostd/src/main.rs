//! The `hostd` binary: flags in, a node, exit codes out.

#![forbid(unsafe_code)]

use std::io::Write;
use std::pin::pin;
use std::process::ExitCode;

use clap::Parser;
use hostd::dev::{self, DevOptions};
use hostd::options::{Command, LogFormat, LogLevel, Options};
use hostd::{Node, StartError, logging};
use tokio::signal::unix::{SignalKind, signal};

/// A bad flag or file.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let mut options = Options::parse();
    if let Some(Command::Dev(options)) = options.command.take() {
        return develop(options);
    }
    let options = match options.with_file() {
        Ok(options) => options,
        Err(error) => return usage(&error),
    };
    logging::start(
        options.log_level.unwrap_or_default(),
        options.log_format.unwrap_or_default(),
    );
    let config = match options.into_config() {
        Ok(config) => config,
        Err(error) => return usage(&error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers())
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fault(&error),
    };
    runtime.block_on(async {
        let mut stop = pin!(stop_signal());
        let started = tokio::select! {
            started = Node::start(config) => started,
            () = &mut stop => {
                tracing::info!("stopping before this node was ready");
                return ExitCode::SUCCESS;
            }
        };
        let node = match started {
            Ok(node) => node,
            Err(StartError::Config(error)) => return usage(&error),
            Err(error) => return fault(&error),
        };
        stop_on_panic();
        let ready = format!(
            "ready node={} listen={} cluster={}",
            node.id(),
            node.address(),
            node.cluster()
        );
        // Whoever started this node may have closed its output; that is no reason to stop.
        let _ = writeln!(std::io::stdout(), "{ready}").and_then(|()| std::io::stdout().flush());
        tokio::select! {
            () = stop => {
                tracing::info!("stopping: handing leadership over and finishing what is in flight");
                node.shutdown().await;
                ExitCode::SUCCESS
            }
            reason = node.fault() => fault(&reason),
        }
    })
}

/// One node for whoever writes a plugin.
fn develop(options: DevOptions) -> ExitCode {
    logging::start(LogLevel::Warn, LogFormat::default());
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fault(&error),
    };
    match runtime.block_on(dev::run(options, stop_signal())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(StartError::Config(error)) => usage(&error),
        Err(error) => fault(&error),
    }
}

/// Threads that serve: half of the cores. The log writer, the machine and the kernel need the
/// others, and each further thread costs every request wake-ups of its neighbours.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1))
}

/// A part of the node that panicked would leave the rest running without it. The process ends
/// instead: a restart loses nothing, and the others go on meanwhile.
fn stop_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("hostd: internal error, stopping: {panic}");
        std::process::exit(1);
    }));
}

/// Waits for SIGTERM or SIGINT.
async fn stop_signal() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        tracing::error!("signals cannot be received; stop this node with SIGKILL");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

fn usage(error: &impl std::fmt::Display) -> ExitCode {
    eprintln!("hostd: {error}");
    ExitCode::from(EXIT_USAGE)
}

fn fault(error: &impl std::fmt::Display) -> ExitCode {
    eprintln!("hostd: {error}");
    ExitCode::FAILURE
}
