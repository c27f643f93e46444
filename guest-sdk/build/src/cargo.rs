//! Runs cargo: where a package is, and its compilation to a WebAssembly module.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::Value;

use crate::{Options, TARGET, Toolchain};

/// A package that can be built.
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: String,
    /// Its `Cargo.toml`.
    manifest: PathBuf,
    /// The directory with the workspace's `Cargo.toml`, and `Cargo.lock` if there is one.
    workspace: PathBuf,
    /// Where guest builds go.
    target_dir: PathBuf,
    /// Where finished plugins go.
    pub(crate) plugins_dir: PathBuf,
}

/// How plugins are compiled, whatever the crate's workspace says about its native builds: small,
/// since every node compiles the component and keeps it in the log; without debug information,
/// which would put paths of the builder's machine into what the cluster replicates.
const PROFILE: [(&str, &str); 7] = [
    ("OPT_LEVEL", "3"),
    ("LTO", "fat"),
    ("CODEGEN_UNITS", "1"),
    ("DEBUG", "false"),
    ("INCREMENTAL", "false"),
    ("PANIC", "abort"),
    ("STRIP", "symbols"),
];

/// Asks cargo where the package is.
pub(crate) fn locate(
    toolchain: &Toolchain,
    manifest_dir: &Path,
    options: &Options,
) -> Result<Package> {
    let mut command = toolchain.cargo(manifest_dir);
    command.args(["metadata", "--no-deps", "--format-version", "1"]);
    let output = command.output().context("cargo does not start")?;
    if !output.status.success() {
        bail!(
            "{} is not a cargo package:\n{}",
            manifest_dir.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let metadata: Value =
        serde_json::from_slice(&output.stdout).context("cargo metadata printed no JSON")?;
    let text = |value: &Value, field: &str| {
        value[field]
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| anyhow!("cargo metadata has no `{field}`"))
    };

    let here = manifest_dir
        .join("Cargo.toml")
        .canonicalize()
        .with_context(|| format!("{} has no Cargo.toml", manifest_dir.display()))?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let mut found = None;
    for package in packages {
        let name = text(package, "name")?;
        let manifest = PathBuf::from(text(package, "manifest_path")?);
        let wanted = match &options.package {
            Some(wanted) => *wanted == name,
            None => manifest.canonicalize().is_ok_and(|path| path == here),
        };
        if wanted {
            found = Some((name, manifest));
        }
    }
    let (name, manifest) = found.ok_or_else(|| match &options.package {
        Some(package) => anyhow!(
            "the workspace of {} has no package `{package}`",
            manifest_dir.display()
        ),
        None => anyhow!(
            "{} is a workspace; name one of its packages",
            manifest_dir.display()
        ),
    })?;

    let workspace = PathBuf::from(text(&metadata, "workspace_root")?);
    let native_target_dir = match std::env::var_os("CARGO_TARGET_DIR") {
        // What the outer cargo was told counts for its guests as well.
        Some(directory) => workspace.join(directory),
        None => PathBuf::from(text(&metadata, "target_directory")?),
    };
    let target_dir = match &options.target_dir {
        Some(directory) => std::path::absolute(directory)?,
        None => native_target_dir.join("guest"),
    };
    Ok(Package {
        name,
        manifest,
        workspace,
        target_dir,
        plugins_dir: native_target_dir.join("plugins"),
    })
}

/// Compiles the package and returns the module's file.
pub(crate) fn compile(
    toolchain: &Toolchain,
    package: &Package,
    options: &Options,
) -> Result<PathBuf> {
    let mut command = toolchain.cargo(&package.workspace);
    command
        .arg("rustc")
        .arg("--manifest-path")
        .arg(&package.manifest)
        .args(["--package", &package.name])
        // Overrides the manifest: plugins are ordinary libraries to everybody else, and
        // link-time optimisation works on nothing that is also an `rlib`.
        .args(["--lib", "--crate-type", "cdylib"])
        .args(["--target", TARGET])
        .args(toolchain.cargo_arguments())
        .args(["--message-format", "json-render-diagnostics"])
        .arg("--target-dir")
        .arg(&package.target_dir)
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            rust_flags(toolchain).join("\x1f"),
        );
    let profile = if options.release {
        command.arg("--release");
        "RELEASE"
    } else {
        "DEV"
    };
    for (setting, value) in PROFILE {
        if options.release || matches!(setting, "DEBUG" | "INCREMENTAL" | "PANIC") {
            command.env(format!("CARGO_PROFILE_{profile}_{setting}"), value);
        }
    }
    // Another cargo version than the one that wrote the lock file must not rewrite it.
    if options.locked && package.workspace.join("Cargo.lock").exists() {
        command.arg("--locked");
    }
    run(command, package, options)
}

/// Runs the build and finds in its messages the module that it made.
fn run(mut command: Command, package: &Package, options: &Options) -> Result<PathBuf> {
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command.stderr(if options.verbose {
        Stdio::inherit()
    } else {
        Stdio::piped()
    });
    let output = command
        .spawn()
        .and_then(std::process::Child::wait_with_output)
        .context("cargo does not start")?;
    if !output.status.success() {
        bail!(
            "package `{}` does not compile to WebAssembly\n{}",
            package.name,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let manifest = package.manifest.to_string_lossy();
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| {
            message["reason"] == "compiler-artifact" && message["manifest_path"] == *manifest
        })
        .flat_map(|message| message["filenames"].as_array().cloned().unwrap_or_default())
        .filter_map(|file| file.as_str().map(PathBuf::from))
        .rfind(|file| {
            file.extension()
                .is_some_and(|extension| extension == "wasm")
        })
        .ok_or_else(|| anyhow!("package `{}` has no library", package.name))
}

/// Compiler flags: the toolchain's own, and names for the directories that panic messages would
/// otherwise spell out, so that the same source gives the same component on every machine.
fn rust_flags(toolchain: &Toolchain) -> Vec<String> {
    let mut flags: Vec<String> = toolchain
        .rust_flags()
        .iter()
        .map(|flag| (*flag).to_owned())
        .collect();
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    if let Some(home) = home.as_deref().and_then(Path::to_str) {
        flags.push(format!("--remap-path-prefix={home}=cargo"));
    }
    flags
}
