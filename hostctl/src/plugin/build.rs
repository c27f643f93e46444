//! `hostctl plugin build`.

use std::path::PathBuf;

use super::check::Report;
use super::package;
use crate::args::Global;
use crate::exit::Exit;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hostctl plugin build
  hostctl plugin build ~/votes --out votes.wasm

Needs Rust and, once, `rustup target add wasm32-unknown-unknown`; says what to type where that is \
missing. The component is then checked as by `hostctl plugin check`. Exit code 1: the crate does \
not build; 3: what it makes is no plugin.")]
pub(crate) struct Build {
    /// The crate's directory
    #[arg(value_name = "DIR", default_value = ".")]
    directory: PathBuf,

    /// The component's file; by default plugins/NAME.wasm in the crate's target directory
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Do not optimise: builds sooner, and makes a large and slow plugin
    #[arg(long)]
    debug: bool,
}

pub(super) fn run(global: &Global, arguments: Build) -> Result<(), Exit> {
    let plugin = package::build(&arguments.directory, !arguments.debug)?;
    let failed = |error| Exit::Build(format!("{error:#}"));
    let file = match arguments.out {
        Some(file) => {
            plugin.write_to(&file).map_err(failed)?;
            file
        }
        None => plugin.write(&plugin.directory).map_err(failed)?,
    };
    let file = package::from_here(&file);
    let report = Report::of(&plugin.component)?;
    report.print(global.output, &file)?;
    report.verdict(&file)
}
