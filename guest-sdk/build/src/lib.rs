//! Builds a Rust crate into a hostd plugin: finds a toolchain that can make WebAssembly, runs
//! cargo, and turns the module into a component.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! let plugin = hostd_plugin_build::build("plugins/ticket", &Default::default())?;
//! let file = plugin.write("target/plugins")?; // target/plugins/ticket.wasm
//! # Ok(())
//! # }
//! ```
//!
//! Nothing but cargo and a linker is run: the component is made in process by `wit-component`.
//! Several processes may build at the same time; cargo's own lock orders them, and a finished
//! file replaces the one before it in one step.

#![forbid(unsafe_code)]

mod cargo;
mod component;
mod environment;
mod toolchain;

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

pub use component::componentize;
pub use toolchain::{Toolchain, find, install};

/// The Rust target that plugins are built for.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// How to build a plugin. The default is an optimised build of the crate in the given directory.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where cargo keeps what it compiles. By default `guest` inside the target directory of the
    /// crate's workspace: apart from native builds, whose lock and flags differ.
    pub target_dir: Option<PathBuf>,
    /// The package, when it is not the one in the given directory but another of its workspace.
    pub package: Option<String>,
    /// Optimise. Unoptimised plugins are large and slow, and use more fuel.
    pub release: bool,
    /// Show cargo's output while it works, instead of only when it fails.
    pub verbose: bool,
    /// Use exactly the versions of `Cargo.lock`, where there is one: a build that would change the
    /// file fails. Without this it takes up a dependency that was added since.
    pub locked: bool,
    /// The toolchain to use, instead of looking for one.
    pub toolchain: Option<Toolchain>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            target_dir: None,
            package: None,
            release: true,
            verbose: false,
            locked: true,
            toolchain: None,
        }
    }
}

/// A built plugin.
#[derive(Clone, Debug)]
pub struct Plugin {
    /// The package's name.
    pub name: String,
    /// The component.
    pub component: Vec<u8>,
    /// What built it.
    pub toolchain: Toolchain,
    /// Where plugins of its workspace are put when nobody says where: `plugins` in the target
    /// directory.
    pub directory: PathBuf,
}

/// Builds the crate at `manifest_dir` (the directory of its `Cargo.toml`) into a component.
///
/// The crate is an ordinary library that uses `#[hostd_sdk::plugin]`; it needs no
/// `crate-type`. With a `Cargo.lock`, exactly the locked versions are used.
pub fn build(manifest_dir: impl AsRef<Path>, options: &Options) -> Result<Plugin> {
    let manifest_dir = manifest_dir.as_ref();
    let toolchain = match &options.toolchain {
        Some(toolchain) => toolchain.clone(),
        None => find(manifest_dir)?,
    };
    let package = cargo::locate(&toolchain, manifest_dir, options)?;
    let module_file = cargo::compile(&toolchain, &package, options)?;
    let module = std::fs::read(&module_file)
        .with_context(|| format!("cannot read {}", module_file.display()))?;
    let component = componentize(&module)
        .with_context(|| format!("package `{}` does not make a plugin", package.name))?;
    Ok(Plugin {
        name: package.name,
        component,
        toolchain,
        directory: package.plugins_dir,
    })
}

impl Plugin {
    /// Writes the component to `NAME.wasm` in `directory`, which is made when missing, and
    /// returns the file's path. Readers see the old file or the new one, never a part.
    pub fn write(&self, directory: impl AsRef<Path>) -> Result<PathBuf> {
        let path = directory.as_ref().join(&self.name).with_extension("wasm");
        self.write_to(&path)?;
        Ok(path)
    }

    /// Writes the component to this file, as [`Plugin::write`] does.
    pub fn write_to(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        replace_file(path, &self.component)
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Replaces a file's content in one step. A file that already has this content is left alone, so
/// that its time of modification tells when the plugin last changed.
fn replace_file(path: &Path, content: &[u8]) -> std::io::Result<()> {
    if std::fs::read(path).is_ok_and(|old| old == content) {
        return Ok(());
    }
    let directory = match path.parent() {
        Some(directory) if directory != Path::new("") => directory,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(directory)?;
    let mut file = tempfile::Builder::new()
        .prefix(path.file_name().unwrap_or(OsStr::new("plugin")))
        .permissions_like_new_file()
        .tempfile_in(directory)?;
    file.write_all(content)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Temporary files are private by default; a built plugin is an ordinary file.
trait PermissionsLikeNewFile {
    fn permissions_like_new_file(&mut self) -> &mut Self;
}

impl PermissionsLikeNewFile for tempfile::Builder<'_, '_> {
    #[cfg(unix)]
    fn permissions_like_new_file(&mut self) -> &mut Self {
        use std::os::unix::fs::PermissionsExt as _;
        // The process's umask still applies.
        self.permissions(std::fs::Permissions::from_mode(0o666))
    }

    #[cfg(not(unix))]
    fn permissions_like_new_file(&mut self) -> &mut Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_only_when_it_changed() {
        let directory = tempfile::tempdir().unwrap();
        let plugin = |component: &[u8]| Plugin {
            name: "ticket".into(),
            component: component.to_vec(),
            toolchain: Toolchain::Rustup,
            directory: PathBuf::new(),
        };
        let target = directory.path().join("plugins");
        let path = plugin(b"one").write(&target).unwrap();
        assert_eq!(path, target.join("ticket.wasm"));
        let first = std::fs::metadata(&path).unwrap().modified().unwrap();
        plugin(b"one").write(&target).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), first);
        plugin(b"two").write(&target).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(&target).unwrap().count(), 1);
    }
}
