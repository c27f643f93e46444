//! `hostctl plugin check`: what a node would say of a file, and more: everything that is wrong
//! with it, not only the first thing.

mod advice;
mod report;
mod world;

use std::path::PathBuf;

use crate::args::Global;
use crate::exit::Exit;

pub(super) use report::Report;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hostctl plugin check target/plugins/votes.wasm
  hostctl plugin check votes.wasm -o json

The file is compiled and asked for its description in this process, by the code that a node runs. \
Exit code 0: it is a plugin; 3: it is none; 2: it cannot be read.

The JSON is {\"ok\", \"file\", \"problems\": [{\"code\", \"message\", \"advice\"}], \"plugin\"}; plugin is \
null for a file that cannot say what it is. Codes: empty, not_webassembly, invalid, core_module, \
too_large, unknown_import, missing_export, wrong_type, description, resources.")]
pub(crate) struct Check {
    /// A component, or a core module that was built with hostd-sdk
    file: PathBuf,
}

pub(super) fn run(global: &Global, check: Check) -> Result<(), Exit> {
    let bytes = super::read(&check.file)?;
    let report = Report::of(&bytes)?;
    report.print(global.output, &check.file)?;
    report.verdict(&check.file)
}

/// What a plugin calls itself.
pub(super) fn name_of(file: &[u8]) -> Option<String> {
    Report::of(file).ok()?.name().map(str::to_owned)
}
