//! `hostctl plugin`: one file per subcommand. What an author needs (`new`, `build`, `test`,
//! `check`) works on this machine alone, without a server; the others ask the cluster.

mod activate;
mod build;
mod check;
mod dry_run;
mod forget;
mod limits;
mod list;
mod new;
mod package;
mod remove;
mod rollback;
mod show;
mod test;

use std::path::Path;
use std::time::Duration;

use hostd_client::Client;
use hostd_protocol::{PluginInfo, Rejection, RejectionCode};

use crate::args::Global;
use crate::exit::Exit;
use crate::{connect, run_here};

#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
Examples:
  hostctl plugin new ~/votes               a crate that works, to change into yours
  hostctl plugin test ~/votes              build it, run tests/scripts in the real machine
  hostctl plugin build ~/votes             build it into a component
  hostctl plugin check votes.wasm          everything that is wrong with a file, or what it can do
  hostctl plugin install votes.wasm        add a plugin to the cluster
  hostctl plugin upgrade votes.wasm        replace it by another version, live
  hostctl plugin rollback votes            go back to the version before
  hostctl plugin show votes                versions, state, limits, migration
  hostctl plugin limits -p votes keys_max=1000000

The first four ask no server. docs/plugin-guide.md leads from nothing to a running plugin.")]
pub(crate) enum Command {
    /// List the cluster's plugins
    List,
    /// Show one of the cluster's plugins: its versions, what it uses, its limits
    Show(show::Show),
    /// Add a plugin to the cluster
    Install(activate::Install),
    /// Replace a plugin by another version, live; its state is migrated where that is needed
    Upgrade(activate::Upgrade),
    /// Go back to a version that the cluster has kept
    Rollback(rollback::Rollback),
    /// Forget a kept version that does not run
    Forget(forget::Forget),
    /// Remove a plugin
    Remove(remove::Remove),
    /// Show and change what plugins may use
    Limits(limits::Limits),
    /// Make the crate of a new plugin, which builds and passes its test
    New(new::New),
    /// Build a plugin's crate into a component, and check it
    Build(build::Build),
    /// Build a plugin's crate and run its golden scripts in the real machine
    Test(test::Test),
    /// Tell everything that is wrong with a plugin file, or what it can do
    Check(check::Check),
}

pub(crate) fn run(global: &Global, command: Command) -> Result<(), Exit> {
    match command {
        Command::List => run_here(list::run(global)),
        Command::Show(show) => run_here(show::run(global, show)),
        Command::Install(install) => run_here(activate::install(global, install)),
        Command::Upgrade(upgrade) => run_here(activate::upgrade(global, upgrade)),
        Command::Rollback(rollback) => run_here(rollback::run(global, rollback)),
        Command::Forget(forget) => run_here(forget::run(global, forget)),
        Command::Remove(remove) => run_here(remove::run(global, remove)),
        Command::Limits(limits) => run_here(limits::run(global, limits)),
        Command::New(new) => new::run(global, new),
        Command::Build(build) => build::run(global, build),
        Command::Test(test) => test::run(global, test),
        Command::Check(check) => check::run(global, check),
    }
}

/// Compiling a large component takes its time on every node.
const PATIENCE: Duration = Duration::from_mins(1);

/// A client that waits for as long as a change of a plugin may take.
async fn patient(global: &Global) -> Result<Client, Exit> {
    let builder = connect::builder(global)?.one_shot();
    Ok(builder
        .timeout(global.timeout.max(PATIENCE))
        .connect()
        .await?)
}

/// A plugin's file.
fn read(file: &Path) -> Result<Vec<u8>, Exit> {
    std::fs::read(file).map_err(|error| {
        let file = file.display();
        Exit::Usage(format!(
            "cannot read {file}: {error}; name a file that `hostctl plugin build` made"
        ))
    })
}

/// One of the cluster's plugins.
async fn find(client: &Client, name: &str) -> Result<PluginInfo, Exit> {
    let (plugins, _) = client.plugins().await?;
    let names: Vec<String> = plugins.iter().map(|plugin| plugin.name.clone()).collect();
    plugins
        .into_iter()
        .find(|plugin| plugin.name == name)
        .ok_or_else(|| {
            let known = if names.is_empty() {
                "the cluster has none".to_owned()
            } else {
                format!("there are: {}", names.join(", "))
            };
            refusal(
                RejectionCode::NotFound,
                format!("no plugin is named '{name}'; {known}"),
            )
        })
}

/// The kept version that a user means: by what it calls itself, or by the beginning of its digest.
fn version_of(plugin: &PluginInfo, asked: &str) -> Result<[u8; 32], Exit> {
    let named: Vec<_> = plugin
        .versions
        .iter()
        .filter(|kept| {
            kept.version == asked || (asked.len() >= 4 && kept.digest.starts_with(asked))
        })
        .collect();
    match named.as_slice() {
        [one] => digest(&one.digest),
        [] => Err(refusal(
            RejectionCode::NotFound,
            format!(
                "no version {asked} of '{}' is kept; `hostctl plugin show {}` lists them",
                plugin.name, plugin.name
            ),
        )),
        _ => Err(refusal(
            RejectionCode::InvalidArgument,
            format!("several kept versions are {asked}; give the beginning of the digest"),
        )),
    }
}

/// A digest out of its hexadecimal form.
fn digest(text: &str) -> Result<[u8; 32], Exit> {
    blake3::Hash::from_hex(text)
        .map(|digest| *digest.as_bytes())
        .map_err(|_| {
            refusal(
                RejectionCode::InvalidArgument,
                format!("'{text}' is no digest"),
            )
        })
}

/// A digest as tables have it.
fn short(digest: &str) -> String {
    digest.chars().take(12).collect()
}

fn refusal(code: RejectionCode, message: String) -> Exit {
    Exit::Call(Rejection::new(code, message).into())
}
