//! `hostctl plugin new`: the crate of a small plugin that works, to change into one's own.

mod files;
mod name;
mod sdk;

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::args::{Format, Global};
use crate::exit::Exit;
use crate::output;
use name::Name;
use sdk::Sdk;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hostctl plugin new ~/votes
  hostctl plugin new . --name votes
  hostctl plugin new ~/votes --sdk ~/src/hostd

The crate depends on hostd-sdk: with --sdk, on the one in that checkout; inside a checkout of hostd, \
on the one there; else on the release of this hostctl's version from the registry.")]
pub(crate) struct New {
    /// The directory, which is made, or is empty
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    /// The plugin's name; by default the directory's
    #[arg(long)]
    name: Option<String>,

    /// A checkout of hostd, whose SDK the crate is to use
    #[arg(long, value_name = "PATH")]
    sdk: Option<PathBuf>,
}

pub(super) fn run(global: &Global, new: New) -> Result<(), Exit> {
    let directory = std::path::absolute(&new.directory)?;
    let name = match &new.name {
        Some(name) => Name::new(name)?,
        None => Name::new(&directory.file_name().unwrap_or_default().to_string_lossy())?,
    };
    is_free(&directory)?;
    let sdk = match &new.sdk {
        Some(path) => Sdk::at(path)?,
        None => Sdk::near(&directory),
    };
    let files = files::write(&directory, &name, &sdk)?;
    match global.output {
        Format::Json => output::json(&json!({
            "directory": directory.to_string_lossy(),
            "name": name.as_str(),
            "sdk": sdk.to_json(),
            "files": files,
        }))?,
        Format::Text => output::line(&next_steps(&new.directory, &name, &sdk, &files))?,
    }
    Ok(())
}

/// Nothing of anybody's is overwritten.
fn is_free(directory: &Path) -> Result<(), Exit> {
    let shown = directory.display();
    match directory.read_dir() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Exit::Usage(format!("cannot use {shown}: {error}"))),
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(Exit::Usage(format!(
                "{shown} is not empty; name a directory that is, or that does not exist"
            ))),
        },
    }
}

fn next_steps(directory: &Path, name: &Name, sdk: &Sdk, files: &[&str]) -> String {
    let shown = directory.display();
    let files: Vec<_> = files.iter().map(|file| format!("  {file}\n")).collect();
    let enter = if directory == Path::new(".") {
        String::new()
    } else {
        format!("  cd {shown}\n")
    };
    format!(
        "made the plugin {name} in {shown}:\n{files}{sdk}\n\nnext:\n{enter}\
         \x20 hostctl plugin test       build it, and run tests/scripts in the real machine\n\
         \x20 hostctl plugin build      build it into target/plugins/{name}.wasm\n\
         \x20 hostd --plugin target/plugins/{name}.wasm\n\
         \x20 hostctl call visit home   from another terminal, in this directory",
        files = files.concat(),
    )
}
