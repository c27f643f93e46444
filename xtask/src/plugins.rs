//! Plugins and fixtures, from crates to WebAssembly components.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use cluster_tests::{target_directory, workspace_root};
use hostd_plugin_build::{Options as BuildOptions, Toolchain};

/// `cargo xtask plugins`
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Which ones; all of plugins/ when none is named
    names: Vec<String>,
    /// The fixtures of tests/fixtures too
    #[arg(long)]
    all: bool,
}

/// Builds what was asked for.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut crates = crates_in("plugins")?;
    if options.all || !options.names.is_empty() {
        crates.extend(crates_in("tests/fixtures")?);
    }
    if !options.names.is_empty() {
        let known = crates.clone();
        crates.retain(|path| options.names.iter().any(|name| path.ends_with(name)));
        if let Some(name) = options
            .names
            .iter()
            .find(|name| !crates.iter().any(|path| path.ends_with(name)))
        {
            let names: Vec<_> = known
                .iter()
                .filter_map(|path| path.file_name()?.to_str())
                .collect();
            bail!(
                "there is no plugin `{name}`; there are: {}",
                names.join(", ")
            );
        }
    }
    build(&crates)
}

/// Builds all of plugins/.
pub(crate) fn build_examples() -> Result<()> {
    build(&crates_in("plugins")?)
}

/// Builds all of plugins/ and of tests/fixtures.
pub(crate) fn build_all() -> Result<()> {
    run(&Options {
        names: Vec::new(),
        all: true,
    })
}

fn build(crates: &[PathBuf]) -> Result<()> {
    let toolchain = hostd_plugin_build::install(workspace_root())?;
    eprintln!("plugins are built with {toolchain}");
    if toolchain == Toolchain::Debian {
        eprintln!("(the first build takes a minute or two longer: it compiles std)");
    }
    for directory in crates {
        let options = BuildOptions {
            toolchain: Some(toolchain.clone()),
            verbose: true,
            ..BuildOptions::default()
        };
        let plugin = hostd_plugin_build::build(directory, &options)?;
        let file = plugin.write(target_directory().join("plugins"))?;
        eprintln!(
            "{} ({} KB)",
            file.strip_prefix(workspace_root())
                .unwrap_or(&file)
                .display(),
            plugin.component.len() / 1000
        );
    }
    Ok(())
}

/// The crates in a directory of the workspace, sorted.
fn crates_in(directory: &str) -> Result<Vec<PathBuf>> {
    let path = workspace_root().join(directory);
    let entries = path
        .read_dir()
        .with_context(|| format!("cannot list {}", path.display()))?;
    let is_crate = |path: &PathBuf| Path::new(path).join("Cargo.toml").is_file();
    let mut crates: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(is_crate)
        .collect();
    crates.sort();
    Ok(crates)
}
