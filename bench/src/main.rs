//! Measures hostd on the machine it runs on, next to the disk's own fsync, etcd and Redis; see
//! `hostd-bench --help`. Usually started by `cargo xtask bench`, which builds everything first.
//!
//! `scenario` says what is measured, `system` starts and stops what is under load, `load` is the
//! load generator, `rounds` takes the systems in turn, `target` judges, `report` prints. It must
//! not know how hostd works inside: it starts the binary and speaks through the client library.

#![forbid(unsafe_code)]

mod case;
mod cpu;
mod fsync;
mod load;
mod machine;
mod median;
mod options;
mod paths;
mod ports;
mod process;
mod progress;
mod random;
mod report;
mod rounds;
mod run;
mod sample;
mod scenario;
mod shape;
mod system;
mod target;
mod tool;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};

use options::{Options, Output};

fn main() -> ExitCode {
    let options = Options::parse();
    match start(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(options: &Options) -> Result<()> {
    // The load shares the machine's cores with the servers: one thread is enough to generate it,
    // and more would only take turns.
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let report = runtime.block_on(async {
        // Whatever ends first, dropping the run stops all servers and removes their data.
        tokio::select! {
            report = run::run(options) => report,
            () = interrupted() => bail!("interrupted; everything is stopped"),
        }
    })?;
    match options.output {
        Output::Text => println!("{}", report.text()),
        Output::Json => println!("{}", serde_json::to_string_pretty(&report)?),
    }
    let kept = options
        .results
        .clone()
        .or_else(|| options.is_full().then(|| paths::bench().join("RESULTS.md")));
    if let Some(file) = kept {
        std::fs::write(&file, report.markdown())
            .with_context(|| format!("write {}", file.display()))?;
        progress::say(&format!("written to {}", file.display()));
    }
    Ok(())
}

/// Waits for Ctrl-C, SIGTERM or the end of the terminal.
async fn interrupted() {
    let kinds = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ];
    let mut signals: Vec<_> = kinds
        .into_iter()
        .filter_map(|kind| signal(kind).ok())
        .collect();
    std::future::poll_fn(|context| {
        if signals
            .iter_mut()
            .any(|signal| signal.poll_recv(context).is_ready())
        {
            return std::task::Poll::Ready(());
        }
        std::task::Poll::Pending
    })
    .await;
}
