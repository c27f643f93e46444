//! `hostd dev`: one node in the terminal for whoever writes a plugin. The crate is built, the node runs
//! it, each call is printed with what it did, and a change of the source is built and takes over live.

mod print;
mod source;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use hostd_gateway::Doors;
use hostd_machine::Engine;
use hostd_protocol::{Activated, CallError};

use crate::config::{Config, ConfigError, Pki};
use crate::data_dir::DataDir;
use crate::ground::{self, Ground};
use crate::node::{Node, StartError};
use source::Source;

/// Where the node's data are when nobody says where, in the crate's own directory.
const DATA: &str = "target/hostd-dev";

/// What the node is told.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hostd dev --plugin ~/votes             the crate of a plugin, built when it changes
  hostd dev --plugin votes.wasm          a component, taken up when the file changes
  hostctl call vote cats                 in another terminal, with the HOSTCTL_PKI that is printed

Each call is printed with its outcome, what it wrote and the fuel that it used. An instance lives for one \
call, so what a plugin keeps in memory vanishes at once, as it may on a real node. The state stays from \
one start to the next, in target/hostd-dev of the crate; --fresh begins with none.")]
pub struct DevOptions {
    /// The directory of a plugin's crate, or a component; repeatable
    #[arg(long, value_name = "PATH", required = true)]
    plugin: Vec<PathBuf>,

    /// Address to listen on
    #[arg(
        short = 'a',
        long,
        value_name = "ADDR",
        default_value = "127.0.0.1:11001"
    )]
    listen: SocketAddr,

    /// Data directory [default: target/hostd-dev beside the first plugin]
    #[arg(short, long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Begin with no state
    #[arg(long)]
    fresh: bool,
}

/// Runs until `stop`.
///
/// # Errors
/// The first build may fail, or the node may not start; later builds that fail are printed.
pub async fn run(options: DevOptions, stop: impl Future<Output = ()>) -> Result<(), StartError> {
    let sources: Vec<Source> = options
        .plugin
        .iter()
        .map(|path| Source::new(path))
        .collect::<Result<_, _>>()?;
    let data = match options.data {
        Some(data) => data,
        None => beside(&options.plugin[0])?,
    };
    if options.fresh {
        forget(&data)?;
    }
    let mut config = Config::new(&data);
    config.listen = options.listen;
    config.pki = Pki::Directory(data.join("pki"));

    let engine = Arc::new(Engine::new()?);
    let credentials = ground::credentials(&config)?;
    let directory = DataDir::open(&config.data, config.node_id)?;
    let doors = Doors::bind(config.listen, &credentials, config.require).await?;
    let mut ground =
        Ground::of_system(&config, engine, credentials.into(), doors, &directory).await?;
    ground.machine.develop(Box::new(print::call));
    let node = Node::start_with(&config, Vec::new(), ground, Some(Arc::new(print::read))).await?;
    let mut changes = source::watch(&sources)?;
    for source in &sources {
        take_up(&node, source).await;
    }
    print::ready(node.address(), &data);
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            reason = node.fault() => return Err(StartError::Fault(reason)),
            changed = changes.recv() => match changed.and_then(|at| sources.get(at)) {
                Some(source) => take_up(&node, source).await,
                None => break,
            },
        }
    }
    node.shutdown().await;
    Ok(())
}

/// Builds, and lets what was built take over. What goes wrong is printed: the author mends it.
async fn take_up(node: &Node, source: &Source) {
    print::building(source.path());
    let building = source.clone();
    let built = tokio::task::spawn_blocking(move || building.build()).await;
    let component = match built {
        Ok(Ok(component)) => component,
        Ok(Err(error)) => return print::not_built(source.path(), &error),
        Err(_) => return print::not_built(source.path(), "the build's thread died"),
    };
    match node.upgrade("developer", &component).await {
        Ok(reply) => print::taken_up(&Activated::from(&reply)),
        Err(error) => print::not_taken_up(&error),
    }
}

/// The directory for a node's data that goes with a crate, or with a component.
fn beside(plugin: &Path) -> Result<PathBuf, StartError> {
    let plugin = plugin.canonicalize()?;
    let directory = if plugin.is_dir() {
        plugin
    } else {
        plugin.parent().map(Path::to_owned).unwrap_or_default()
    };
    Ok(directory.join(DATA))
}

/// Removes the node's state of an earlier start; certificates stay.
fn forget(data: &Path) -> Result<(), StartError> {
    match std::fs::remove_dir_all(data.join("node-1")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Says what is wrong with a plugin's path.
fn bad(path: &Path, detail: impl Into<String>) -> ConfigError {
    ConfigError::Plugin {
        path: path.to_owned(),
        detail: detail.into(),
    }
}

/// What is to be told of an upgrade that the cluster refuses.
fn advice(error: &CallError) -> &'static str {
    if error.message().contains("neither read nor migrate") {
        "; bring a migration, or start again with --fresh"
    } else {
        ""
    }
}
