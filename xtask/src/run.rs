//! Running cargo and other programs, each printed so that one can run it again.

use std::process::Command;

use anyhow::{Context as _, Result, bail};
use cluster_tests::workspace_root;

/// A cargo command in the workspace's directory. With the `cargo` that runs this program.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(arguments).current_dir(workspace_root());
    // What `cargo run` sets for this program is not meant for another cargo: build scripts
    // would be run anew each time.
    for (name, _) in std::env::vars_os() {
        let is_of_this_package = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
        });
        if is_of_this_package {
            command.env_remove(name);
        }
    }
    command
}

/// The command as one would type it.
pub(crate) fn as_typed(command: &Command) -> String {
    let variables = command.get_envs().filter_map(|(name, value)| {
        Some(format!("{}={}", name.to_str()?, quoted(value?.to_str()?)))
    });
    let program = std::path::Path::new(command.get_program())
        .file_name()
        .unwrap_or_default();
    let words = std::iter::once(program)
        .chain(command.get_args())
        .map(|word| quoted(&word.to_string_lossy()));
    variables.chain(words).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Prints the command, runs it with its output shown, and fails when it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    eprintln!("$ {}", as_typed(command));
    let status = command
        .status()
        .with_context(|| format!("{} does not start", command.get_program().to_string_lossy()))?;
    if !status.success() {
        bail!("`{}` failed: {status}", as_typed(command));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_so_that_a_shell_takes_it() {
        let mut command = Command::new("/usr/bin/cargo");
        command
            .args(["doc", "--no-deps", "a b"])
            .env("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(
            as_typed(&command),
            "RUSTDOCFLAGS='-D warnings' cargo doc --no-deps 'a b'"
        );
    }
}
