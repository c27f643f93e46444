//! A corner of the machine for a run alone: namespaces of its own for processes, mounts and the
//! network. The kernel takes down everything in it with the first process, whatever ends that,
//! and nothing in it touches the machine outside.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// Set for the process inside.
const MARK: &str = "NEMESIS_WORLD";

/// Where a run takes place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum World {
    /// In namespaces of its own.
    Own,
    /// Among all others: without faults that need namespaces.
    Shared,
}

/// Starts this program anew inside; returns there, and where that cannot be.
pub(crate) fn enter() -> Result<World> {
    match std::env::var(MARK).as_deref() {
        Ok("own") => {
            furnish()?;
            return Ok(World::Own);
        }
        Ok(_) => return Ok(World::Shared),
        Err(_) => {}
    }
    // First as root. Then as a user who is root in there, where the kernel lets users have that.
    for user in [&[][..], &["--user", "--map-root-user"]] {
        if !works(user) {
            continue;
        }
        let program = std::env::current_exe().context("this program is not known")?;
        let error = unshare(user)
            .arg(program)
            .args(std::env::args_os().skip(1))
            .env(MARK, "own")
            .exec();
        bail!("unshare does not start: {error}");
    }
    Ok(World::Shared)
}

fn unshare(user: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(user).args([
        "--mount",
        "--net",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ]);
    command
}

/// Whether everything that a run does in there may be done.
fn works(user: &[&str]) -> bool {
    let try_out =
        "mount -t tmpfs tmpfs /run && ip link set lo up && ip netns add try && iptables -w -S";
    let tried = unshare(user)
        .args(["sh", "-c", try_out])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    tried.is_ok_and(|status| status.success())
}

/// Directories in which programs leave traces by name: network namespaces, locks, semaphores.
fn furnish() -> Result<()> {
    for directory in ["/run", "/dev/shm"] {
        if std::path::Path::new(directory).is_dir() {
            mount(directory, None)?;
        }
    }
    Ok(())
}

/// Mounts a file system in memory.
pub(crate) fn mount(directory: &str, bytes: Option<u64>) -> Result<()> {
    let size = bytes.map_or_else(|| "mode=0755".into(), |bytes| format!("size={bytes}"));
    run(&["mount", "-t", "tmpfs", "-o", &size, "tmpfs", directory])
}

/// Takes it away, also from those who still have files open there.
pub(crate) fn unmount(directory: &str) -> Result<()> {
    run(&["umount", "--lazy", directory])
}

fn run(words: &[&str]) -> Result<()> {
    let output = Command::new(words[0])
        .args(&words[1..])
        .output()
        .with_context(|| format!("cannot run {}", words[0]))?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        bail!("{}: {}", words.join(" "), reason.trim());
    }
    Ok(())
}
