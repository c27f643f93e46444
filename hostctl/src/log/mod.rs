//! `hostctl log`: what happened, and the state as it was.

mod replay;
mod show;

use crate::args::Global;
use crate::exit::Exit;
use crate::run_here;

pub(crate) use show::{bytes_words, call_words, outcome_json, outcome_words};

#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
Examples:
  hostctl log show                         every entry that the answering node still has
  hostctl log show --plugin kv --from 1200
  cp -r data copy; hostctl log replay --until 1200 --data copy get greeting")]
pub(crate) enum Command {
    /// Print the log: who called what when, and what came of it
    Show(show::Show),
    /// Rebuild the state as it was at an entry from a copy of a data directory, and query it
    Replay(replay::Replay),
}

pub(crate) fn run(global: &Global, command: Command) -> Result<(), Exit> {
    match command {
        Command::Show(show) => run_here(show::run(global, show)),
        Command::Replay(replay) => replay::run(global, replay),
    }
}
