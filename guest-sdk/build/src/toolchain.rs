//! Finds, or installs, a Rust toolchain that compiles to WebAssembly.
//!
//! Two are known. The usual one is whatever `rustc` and `cargo` are active, with the standard
//! library for [`TARGET`] installed beside them (`rustup target add`). The other is for machines
//! that have only Debian's packages: its compiler has no standard library for that target, but
//! the sources of one, which cargo compiles along with the plugin.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};

use crate::TARGET;
use crate::environment::clean_command;

/// Chooses a toolchain instead of looking for one: `rustup` or `debian`.
const CHOICE_VARIABLE: &str = "HOSTD_PLUGIN_TOOLCHAIN";

/// How long `rustup target add` may take. The download is about 20 MB; offline, rustup retries
/// for longer than anybody wants to wait.
const RUSTUP_TIME_MAX: Duration = Duration::from_mins(1);

/// Debian's packages, and where they put what is needed.
const DEBIAN_PACKAGES: &str = "rustc-web cargo-web rust-web-src lld-19";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_LINKER: &str = "/usr/bin/wasm-ld-19";
const DEBIAN_LIBRARY_SOURCE: &str = "/usr/lib/rustlib/src/rust/library/std/Cargo.toml";

/// A toolchain that can build plugins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Toolchain {
    /// The active `cargo` and `rustc`, with the target's standard library installed.
    Rustup,
    /// Debian's `rustc-web`, which compiles the standard library from source. The first build
    /// in a target directory takes a minute or two longer for it.
    Debian,
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Toolchain::Rustup => "the active Rust toolchain with target wasm32-unknown-unknown",
            Toolchain::Debian => "Debian's rustc-web, compiling the standard library from source",
        })
    }
}

impl Toolchain {
    /// A cargo command of this toolchain, in an environment free of any outer build.
    pub(crate) fn cargo(&self, directory: &Path) -> Command {
        match self {
            Toolchain::Rustup => {
                let mut command = clean_command("cargo");
                command.current_dir(directory);
                command
            }
            Toolchain::Debian => {
                let mut command = clean_command(DEBIAN_CARGO);
                command
                    .current_dir(directory)
                    .env("RUSTC", DEBIAN_RUSTC)
                    // The standard library's sources use unstable features.
                    .env("RUSTC_BOOTSTRAP", "1")
                    // An outer cargo puts its own toolchain's libraries first.
                    .env_remove("LD_LIBRARY_PATH")
                    .env("PATH", path_with_first("/usr/bin"));
                command
            }
        }
    }

    /// What to add to the arguments of `cargo rustc`.
    pub(crate) fn cargo_arguments(&self) -> &'static [&'static str] {
        match self {
            Toolchain::Rustup => &[],
            Toolchain::Debian => &["-Zbuild-std=std,panic_abort"],
        }
    }

    /// Compiler flags.
    pub(crate) fn rust_flags(&self) -> &'static [&'static str] {
        match self {
            Toolchain::Rustup => &[],
            Toolchain::Debian => &["-Clinker=wasm-ld-19"],
        }
    }
}

/// Finds a toolchain for a crate in `directory`, whose `rust-toolchain.toml` counts.
///
/// When there is none, tries `rustup target add` once, for a minute at most. The error otherwise
/// names the command to run.
pub fn find(directory: impl AsRef<Path>) -> Result<Toolchain> {
    let directory = directory.as_ref();
    match std::env::var(CHOICE_VARIABLE).as_deref() {
        Ok("rustup") => return Ok(Toolchain::Rustup),
        Ok("debian") => return Ok(Toolchain::Debian),
        Ok(other) => bail!("{CHOICE_VARIABLE} is `{other}`; it can be `rustup` or `debian`"),
        Err(_) => {}
    }
    if target_is_installed(directory) {
        return Ok(Toolchain::Rustup);
    }
    if debian_is_installed() {
        return Ok(Toolchain::Debian);
    }
    add_rustup_target(directory).map_err(|reason| missing(&reason))?;
    Ok(Toolchain::Rustup)
}

/// Finds a toolchain, and installs one when there is none: with rustup, else with `apt-get` when
/// this process may use it. The error otherwise names the command to run.
pub fn install(directory: impl AsRef<Path>) -> Result<Toolchain> {
    let reason = match find(directory) {
        Ok(toolchain) => return Ok(toolchain),
        Err(reason) => reason,
    };
    if !is_on_path("apt-get") || !is_root() {
        return Err(reason);
    }
    apt_get(&["update"])?;
    apt_get(&["install", "-y", "--no-install-recommends"])?;
    if debian_is_installed() {
        Ok(Toolchain::Debian)
    } else {
        Err(reason)
    }
}

fn missing(reason: &str) -> anyhow::Error {
    let rustup = format!("rustup target add {TARGET}");
    let apt = format!("apt-get install -y --no-install-recommends {DEBIAN_PACKAGES}");
    if is_on_path("rustup") {
        anyhow!(
            "no Rust toolchain here compiles to WebAssembly ({reason})\n\
             run:  {rustup}\n\
             or, on Debian and without a way to rustup's servers:  {apt}"
        )
    } else {
        anyhow!(
            "no Rust toolchain here compiles to WebAssembly ({reason})\n\
             install Rust from https://rustup.rs, then run:  {rustup}\n\
             or, on Debian:  {apt}"
        )
    }
}

/// Whether the active compiler has a standard library for the target.
fn target_is_installed(directory: &Path) -> bool {
    let output = clean_command("rustc")
        .args(["--print", "sysroot"])
        .current_dir(directory)
        .stderr(Stdio::null())
        .output();
    let Ok(output) = output else { return false };
    let Ok(sysroot) = String::from_utf8(output.stdout) else {
        return false;
    };
    output.status.success()
        && is_on_path("cargo")
        && Path::new(sysroot.trim())
            .join("lib/rustlib")
            .join(TARGET)
            .join("lib")
            .is_dir()
}

fn debian_is_installed() -> bool {
    [
        DEBIAN_RUSTC,
        DEBIAN_CARGO,
        DEBIAN_LINKER,
        DEBIAN_LIBRARY_SOURCE,
    ]
    .iter()
    .all(|file| Path::new(file).exists())
}

/// Runs `rustup target add`. The error is a reason, in a few words.
fn add_rustup_target(directory: &Path) -> Result<(), String> {
    if !is_on_path("rustup") {
        return Err("rustup is not installed".into());
    }
    let mut child = clean_command("rustup")
        .args(["target", "add", TARGET])
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("rustup does not start: {error}"))?;
    // Read beside waiting, so that neither a full pipe nor a silent rustup can block.
    let mut stderr = child.stderr.take().expect("stderr is piped");
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        stderr.read_to_end(&mut text).map(|_| text)
    });
    let deadline = Instant::now() + RUSTUP_TIME_MAX;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(50));
            }
            Ok(None) => {
                // It may have ended by itself just now.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!(
                    "`rustup target add {TARGET}` did not finish within {} s",
                    RUSTUP_TIME_MAX.as_secs()
                ));
            }
            Err(error) => return Err(format!("cannot wait for rustup: {error}")),
        }
    };
    if status.success() && target_is_installed(directory) {
        return Ok(());
    }
    let text = reader.join().ok().and_then(Result::ok).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let last = text.lines().rfind(|line| line.contains("error:"));
    Err(format!(
        "`rustup target add {TARGET}` failed: {}",
        last.unwrap_or("no reason given").trim()
    ))
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive");
    if arguments.contains(&"install") {
        command.args(DEBIAN_PACKAGES.split(' '));
    }
    let status = command.stdin(Stdio::null()).status()?;
    if !status.success() {
        bail!("apt-get {} failed: {status}", arguments[0]);
    }
    Ok(())
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn is_on_path(program: &str) -> bool {
    path_directories().any(|directory| directory.join(program).is_file())
}

fn path_directories() -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).collect::<Vec<_>>().into_iter()
}

fn path_with_first(first: &str) -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::iter::once(PathBuf::from(first)).chain(std::env::split_paths(&path));
    // A directory that cannot stand in a PATH did not come from one.
    std::env::join_paths(directories).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_the_command_that_brings_it() {
        let message = missing("offline").to_string();
        assert!(message.contains("offline"));
        assert!(message.contains("rustup target add wasm32-unknown-unknown"));
        assert!(message.contains("apt-get install -y --no-install-recommends rustc-web"));
    }

    #[test]
    fn the_debian_toolchain_ignores_other_compilers() {
        let command = Toolchain::Debian.cargo(Path::new("."));
        assert_eq!(command.get_program(), DEBIAN_CARGO);
        let variable = |name: &str| {
            command
                .get_envs()
                .find(|(key, _)| *key == name)
                .and_then(|(_, value)| value)
                .map(|value| value.to_string_lossy().into_owned())
        };
        assert_eq!(variable("RUSTC").as_deref(), Some(DEBIAN_RUSTC));
        assert!(variable("PATH").unwrap().starts_with("/usr/bin:"));
    }
}
