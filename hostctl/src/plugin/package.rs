//! A plugin's crate, and its way to a component.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use hostd_plugin_build::{Options, Plugin};

use crate::exit::Exit;

/// Builds the crate in a directory. What cargo says goes to standard error as it comes.
pub(super) fn build(directory: &Path, release: bool) -> Result<Plugin, Exit> {
    if !directory.join("Cargo.toml").is_file() {
        return Err(Exit::Usage(format!(
            "{} has no Cargo.toml; name a plugin's directory, or make one with `hostctl plugin new DIR`",
            directory.display()
        )));
    }
    let failed = |error| Exit::Build(format!("{error:#}").trim().to_owned());
    let toolchain = hostd_plugin_build::find(directory).map_err(failed)?;
    writeln!(io::stderr(), "building with {toolchain}")?;
    let options = Options {
        release,
        verbose: true,
        // An author adds dependencies: the build takes them up as `cargo build` does.
        locked: false,
        toolchain: Some(toolchain),
        ..Options::default()
    };
    hostd_plugin_build::build(directory, &options).map_err(failed)
}

/// A path as one would type it here.
pub(super) fn from_here(path: &Path) -> PathBuf {
    let here = std::env::current_dir().ok();
    here.as_deref()
        .and_then(|here| path.strip_prefix(here).ok())
        .unwrap_or(path)
        .to_owned()
}
