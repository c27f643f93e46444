//! The nemesis, which is a program of its own.

use std::process::Command;

use anyhow::Result;
use cluster_tests::{target_directory, workspace_root};

use crate::{build, run};

/// `cargo xtask nemesis`
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Options {
    /// Arguments of the nemesis; see `cargo xtask nemesis --help`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds what is harmed, then harms it.
pub(crate) fn run(options: &Options) -> Result<()> {
    build::everything()?;
    let mut command = Command::new(target_directory().join("release/nemesis"));
    run::run(
        command
            .args(&options.arguments)
            .current_dir(workspace_root()),
    )
}
