//! What a guest build must not inherit.
//!
//! A build is often started from inside another cargo: a test, `cargo xtask`, a build script.
//! That cargo describes its own package, compiler and flags in the environment; every one of
//! those would steer the guest build wrongly, most of them silently.

use std::ffi::OsString;
use std::process::Command;

/// `CARGO_…` variables that are the user's own settings on how to reach the network and where
/// crates are kept, not a description of the outer build.
const KEPT: [&str; 6] = [
    "CARGO_HOME",
    "CARGO_HTTP_",
    "CARGO_NET_",
    "CARGO_REGISTR",
    "CARGO_SOURCE_",
    "CARGO_TERM_",
];

/// Further variables by which cargo and rustup talk to what they run.
const REMOVED: [&str; 16] = [
    "DEBUG",
    "HOST",
    "LD",
    "MAKEFLAGS",
    "MFLAGS",
    "NUM_JOBS",
    "OPT_LEVEL",
    "OUT_DIR",
    "PROFILE",
    "RUSTC",
    "RUSTC_BOOTSTRAP",
    "RUSTDOC",
    "RUSTDOCFLAGS",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
    "TARGET",
];

/// Whether a variable belongs to an outer build.
fn is_removed(name: &str) -> bool {
    if name == "CARGO" || name.starts_with("CARGO_") {
        return !KEPT.iter().any(|kept| name.starts_with(kept));
    }
    name.starts_with("RUSTC_") || name.starts_with("DEP_") || REMOVED.contains(&name)
}

/// A command that inherits the environment without what an outer build put there.
pub(crate) fn clean_command(program: impl Into<OsString>) -> Command {
    let mut command = Command::new(program.into());
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_removed) {
            command.env_remove(name);
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outer_build_is_forgotten_and_the_users_settings_stay() {
        for name in [
            "CARGO",
            "CARGO_MANIFEST_DIR",
            "CARGO_TARGET_DIR",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_PROFILE_RELEASE_LTO",
            "CARGO_BUILD_TARGET",
            "RUSTC",
            "RUSTC_WRAPPER",
            "RUSTC_WORKSPACE_WRAPPER",
            "RUSTFLAGS",
            "RUSTUP_TOOLCHAIN",
            "OUT_DIR",
        ] {
            assert!(is_removed(name), "{name}");
        }
        for name in [
            "PATH",
            "HOME",
            "CARGO_HOME",
            "CARGO_HTTP_PROXY",
            "CARGO_NET_OFFLINE",
            "CARGO_REGISTRIES_OURS_TOKEN",
            "RUSTUP_HOME",
            "RUST_BACKTRACE",
            "HTTPS_PROXY",
        ] {
            assert!(!is_removed(name), "{name}");
        }
    }
}
