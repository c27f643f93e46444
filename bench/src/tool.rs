//! Other people's programs: finding them, running them.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tokio::process::Command;

/// Finds a program on the path, or at one of the places where installers put it.
pub(crate) fn find(name: &str, elsewhere: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .chain(elsewhere.iter().map(PathBuf::from))
        .find(|file| file.is_file())
}

/// Runs a command to its end and returns what it printed. It is killed when the future is
/// dropped.
pub(crate) async fn run(command: &mut Command) -> Result<String> {
    let program = command.as_std().get_program().display().to_string();
    let output = command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .process_group(0)
        .output()
        .await
        .with_context(|| format!("run {program}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program} ended with {}: {}", output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The first line of what a program says about its version.
pub(crate) async fn version(program: &Path) -> Result<String> {
    let printed = run(Command::new(program).arg("--version")).await?;
    Ok(printed.lines().next().unwrap_or_default().trim().to_owned())
}
