//! The bench, which is a program of its own.

use std::process::Command;

use anyhow::Result;
use cluster_tests::{target_directory, workspace_root};

use crate::{build, run};

/// `cargo xtask bench`
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Options {
    /// Arguments of the bench; see `cargo xtask bench --help`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds what is measured, then measures.
pub(crate) fn run(options: &Options) -> Result<()> {
    build::everything()?;
    let mut command = Command::new(target_directory().join("release/hostd-bench"));
    run::run(
        command
            .args(&options.arguments)
            .current_dir(workspace_root()),
    )
}
