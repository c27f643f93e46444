//! Running cargo and other programs, each printed so that one can run it again.

use std::{
    process::{Child, Command, ExitStatus},
    time::{Duration, Instant},
};

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
    succeed(command, |child| Ok(child.wait()?))
}

/// As [`run`], for what is known to end within `limit`: what does not, hangs, and is ended with
/// all that it started.
pub(crate) fn run_within(limit: Duration, command: &mut Command) -> Result<()> {
    succeed(command, |child| {
        let start = Instant::now();
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            if start.elapsed() > limit {
                end(child);
                bail!(
                    "hung, and was ended after {} minutes; the last lines above say where",
                    limit.as_secs() / 60
                );
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    })
}

fn succeed(
    command: &mut Command,
    wait: impl FnOnce(&mut Child) -> Result<ExitStatus>,
) -> Result<()> {
    let typed = as_typed(command);
    eprintln!("$ {typed}");
    let mut child = command
        .spawn()
        .with_context(|| format!("{} does not start", command.get_program().to_string_lossy()))?;
    let status = wait(&mut child).with_context(|| format!("`{typed}`"))?;
    if !status.success() {
        bail!("`{typed}` failed: {status}");
    }
    Ok(())
}

/// Ends a process and those below it.
fn end(child: &mut Child) {
    let mut found = vec![child.id()];
    let mut looked_at = 0;
    while let Some(&parent) = found.get(looked_at) {
        looked_at += 1;
        // Each of its threads has children of its own.
        let threads = std::fs::read_dir(format!("/proc/{parent}/task"));
        for thread in threads.into_iter().flatten().flatten() {
            let children = std::fs::read_to_string(thread.path().join("children"));
            let children = children.unwrap_or_default();
            let ids = children.split_whitespace();
            found.extend(ids.filter_map(|id| id.parse::<u32>().ok()));
        }
    }
    let ids = found.iter().map(ToString::to_string);
    let _ = Command::new("kill").arg("-KILL").args(ids).status();
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hangs_is_ended_with_what_it_started() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let script = format!(
            "sleep 600 & echo $! > {}; wait",
            file.path().to_str().unwrap()
        );
        let mut command = Command::new("sh");
        let error = run_within(Duration::from_secs(2), command.args(["-c", &script])).unwrap_err();
        assert!(format!("{error:#}").contains("hung"), "{error:#}");
        let sleeper = std::fs::read_to_string(file.path()).unwrap();
        let alive = || {
            let state = std::fs::read_to_string(format!("/proc/{}/stat", sleeper.trim()));
            state.is_ok_and(|state| !state.contains(") Z "))
        };
        // It is killed, but may not know it yet.
        let start = Instant::now();
        while alive() {
            assert!(
                start.elapsed() < Duration::from_mins(1),
                "{sleeper} lives on"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(run_within(Duration::from_mins(1), &mut Command::new("true")).is_ok());
        assert!(run_within(Duration::from_mins(1), &mut Command::new("false")).is_err());
    }

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
