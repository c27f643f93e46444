//! `hostctl plugin`: one file per subcommand. What an author needs (`new`, `build`, `test`,
//! `check`) works on this machine alone, without a server.

mod build;
mod check;
mod new;
mod package;
mod test;

use crate::args::{Global, NotBuilt};
use crate::exit::Exit;

#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
Examples:
  hostctl plugin new ~/votes           a crate that works, to change into yours
  hostctl plugin test ~/votes          build it, run tests/scripts in the real machine
  hostctl plugin build ~/votes         build it into a component
  hostctl plugin check votes.wasm      everything that is wrong with a file, or what it can do

None of these asks a server. docs/plugin-guide.md leads from nothing to a running plugin.")]
pub(crate) enum Command {
    /// Make the crate of a new plugin, which builds and passes its test
    New(new::New),
    /// Build a plugin's crate into a component, and check it
    Build(build::Build),
    /// Build a plugin's crate and run its golden scripts in the real machine
    Test(test::Test),
    /// Tell everything that is wrong with a plugin file, or what it can do
    Check(check::Check),
    /// List the cluster's plugins (not built yet)
    List(NotBuilt),
    /// Show one of the cluster's plugins (not built yet)
    Show(NotBuilt),
    /// Install a plugin (not built yet)
    Install(NotBuilt),
    /// Replace a plugin by another version, live (not built yet)
    Upgrade(NotBuilt),
    /// Go back to the version before the last upgrade (not built yet)
    Rollback(NotBuilt),
    /// Remove a plugin (not built yet)
    Remove(NotBuilt),
    /// Show and change what plugins may use (not built yet)
    Limits(NotBuilt),
}

pub(crate) fn run(global: &Global, command: Command) -> Result<(), Exit> {
    match command {
        Command::New(new) => new::run(global, new),
        Command::Build(build) => build::run(global, build),
        Command::Test(test) => test::run(global, test),
        Command::Check(check) => check::run(global, check),
        Command::List(_) => Err(Exit::not_built("plugin list")),
        Command::Show(_) => Err(Exit::not_built("plugin show")),
        Command::Install(_) => Err(Exit::not_built("plugin install")),
        Command::Upgrade(_) => Err(Exit::not_built("plugin upgrade")),
        Command::Rollback(_) => Err(Exit::not_built("plugin rollback")),
        Command::Remove(_) => Err(Exit::not_built("plugin remove")),
        Command::Limits(_) => Err(Exit::not_built("plugin limits")),
    }
}
