//! Where the built binaries and plugins are.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// The workspace's directory.
pub fn workspace_root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Cargo's target directory of the workspace.
pub fn target_directory() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => workspace_root().join(directory),
        None => workspace_root().join("target"),
    }
}

/// The binaries and plugins under test, all built.
#[derive(Clone, Debug)]
pub struct Artifacts {
    /// The node.
    pub hostd: PathBuf,
    /// The command line client.
    pub hostctl: PathBuf,
    plugins: PathBuf,
}

impl Artifacts {
    /// Finds them where `cargo xtask build` puts them. `HOSTD_TEST_BIN` names another directory
    /// with `hostd` and `hostctl` in it.
    pub fn locate() -> Result<Self> {
        let target = target_directory();
        let binaries = match std::env::var_os("HOSTD_TEST_BIN") {
            Some(directory) => PathBuf::from(directory),
            None => target.join("release"),
        };
        let artifacts = Self {
            hostd: binaries.join("hostd"),
            hostctl: binaries.join("hostctl"),
            plugins: target.join("plugins"),
        };
        for file in [&artifacts.hostd, &artifacts.hostctl] {
            require(file)?;
        }
        Ok(artifacts)
    }

    /// The component of a plugin.
    pub fn plugin(&self, name: &str) -> Result<PathBuf> {
        let file = self.plugins.join(name).with_extension("wasm");
        require(&file)?;
        Ok(file)
    }
}

fn require(file: &Path) -> Result<()> {
    if !file.is_file() {
        bail!(
            "{} is not built; run `cargo xtask build` first",
            file.display()
        );
    }
    Ok(())
}
