//! What can be typed.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use hostd_protocol::{Consistency, DEFAULT_ADDRESS, NodeId};

use crate::{
    bench, call, commands, log, member, pki, plugin, policy, snapshot, token, user, watch,
};

/// Asks a hostd cluster: calls commands of its plugins, shows and changes its members.
#[derive(Debug, Parser)]
#[command(
    name = "hostctl",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  hostctl call ticket                        take a ticket
  hostctl call set greeting hello            write a key of the kv plugin
  hostctl -s 10.0.0.1:11001 status           a row per node
  hostctl commands                           what the cluster's plugins can do

Errors go to standard error as `code: message`. Exit codes: 2 usage, or not built yet; 3 the \
call is wrong; 4 the plugin refused; 5 not allowed; 6 the plugin failed; 7 the cluster cannot \
answer now; 8 what was to be watched is not known any more; 1 anything else."
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// A server to ask; repeat it to name several, which are tried in turn
    #[arg(
        short = 's',
        long = "server",
        value_name = "ADDR",
        global = true,
        env = "HOSTCTL_SERVER",
        hide_env_values = true,
        value_delimiter = ',',
        value_parser = address,
        default_value = DEFAULT_ADDRESS
    )]
    pub(crate) servers: Vec<String>,

    /// Directory with ca.pem, and with NAME.pem and NAME-key.pem of --identity
    #[arg(
        long,
        value_name = "DIR",
        global = true,
        env = "HOSTCTL_PKI",
        hide_env_values = true,
        default_value = "./data/pki"
    )]
    pub(crate) pki: PathBuf,

    /// Whose certificate of --pki to use
    #[arg(
        long,
        value_name = "NAME",
        global = true,
        env = "HOSTCTL_IDENTITY",
        hide_env_values = true,
        default_value = hostd_pki::ADMIN
    )]
    pub(crate) identity: String,

    // These three only before the command: after `call`, --key is an idempotency key.
    /// The authority's certificate, with --cert and --key instead of --pki; before the command
    #[arg(long, value_name = "FILE", requires_all = ["cert", "key"])]
    pub(crate) ca: Option<PathBuf>,

    /// The client's certificate; before the command
    #[arg(long, value_name = "FILE", requires_all = ["ca", "key"])]
    pub(crate) cert: Option<PathBuf>,

    /// The client's private key; before the command
    #[arg(long, value_name = "FILE", requires_all = ["ca", "cert"])]
    pub(crate) key: Option<PathBuf>,

    /// Print for people, or one JSON document
    #[arg(
        short,
        long,
        value_enum,
        value_name = "FORMAT",
        global = true,
        default_value = "text"
    )]
    pub(crate) output: Format,

    /// How long to wait for the answer, such as 500ms, 10s or 1m
    #[arg(
        long,
        value_name = "TIME",
        global = true,
        default_value = "10s",
        value_parser = time
    )]
    pub(crate) timeout: Duration,
}

/// How output is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
}

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Read {
    /// Sees every write that was acknowledged before it
    Linearizable,
    /// Sees the answering node's state, however old
    Stale,
}

impl From<Read> for Consistency {
    fn from(read: Read) -> Self {
        match read {
            Read::Linearizable => Self::Linearizable,
            Read::Stale => Self::Stale,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Call a command of a plugin
    Call(call::Call),
    /// List the commands of every plugin, or explain one
    Commands(commands::Arguments),
    /// Show a row per node
    #[command(after_help = "\
Examples:
  hostctl status
  hostctl status -o json

The JSON is an array, one object per member: id address version role leader term first_log \
last_log applied checkpoint digest data_bytes health reachable plugins.")]
    Status,
    /// Compare the states of all nodes at one checkpoint, and name what differs
    #[command(after_help = "\
Examples:
  hostctl verify
  hostctl verify -o json
  hostctl verify --timeout 10m               of a large state

Has a checkpoint made, and every node read all rows that it has on disk at it. Where a node differs from \
most members, the first differing key of each table is named. It may take two minutes, or --timeout.

Exit codes: 0 all nodes agree; 4 some differ, or have damaged rows; 7 some did not answer, and the \
others agree.

The JSON is an object: checkpoint majority nodes; a node has id address verdict reason rows digest \
kept against differences, and a difference table plugin key kind here there.")]
    Verify,
    /// Show and change the members
    #[command(subcommand)]
    Member(member::Command),
    /// Make and show certificates
    #[command(subcommand)]
    Pki(pki::Command),
    /// Show and change who may do what
    #[command(subcommand)]
    Policy(policy::Command),
    /// Give RESP and HTTP clients without a certificate a name and a secret
    #[command(subcommand)]
    User(user::Command),
    /// Install, upgrade, show and remove plugins; make, test and check new ones
    #[command(subcommand)]
    Plugin(plugin::Command),
    /// Print the log, and rebuild the state as it was
    #[command(subcommand)]
    Log(log::Command),
    /// Measure how many calls the cluster answers, and how quickly
    Bench(bench::Bench),
    /// Print a completion script for a shell
    #[command(after_help = "\
Examples:
  hostctl completion bash > /etc/bash_completion.d/hostctl
  hostctl completion zsh > ~/.zfunc/_hostctl
  hostctl completion fish > ~/.config/fish/completions/hostctl.fish")]
    Completion {
        /// The shell
        shell: Shell,
    },
    /// Make, list and revoke join tokens
    #[command(subcommand)]
    Token(token::Command),
    /// Take, list, fetch, check and restore snapshots
    #[command(subcommand)]
    Snapshot(snapshot::Command),
    /// Print changes of keys as they happen, or what plugins publish
    Watch(watch::Arguments),
    /// Upload a directory to the secrets plugin (not built yet)
    Store(NotBuilt),
    /// Mirror a tree of the secrets plugin to a directory (not built yet)
    Pull(NotBuilt),
}

/// Whatever a command that is not there would be given.
#[derive(Debug, Args)]
pub(crate) struct NotBuilt {
    /// Not looked at
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _rest: Vec<OsString>,
}

/// Parses a time span.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "write a time such as 500ms, 10s or 1m".to_owned())
}

/// Parses a node's number.
pub(crate) fn node_id(text: &str) -> Result<NodeId, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("a node's number is 1 or more".to_owned()),
        Ok(id) => Ok(id),
    }
}

/// Parses a node's address.
pub(crate) fn address(text: &str) -> Result<String, String> {
    let valid = text
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if valid {
        Ok(text.to_owned())
    } else {
        Err(format!("write host:port, such as {DEFAULT_ADDRESS}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
    }
}
