//! What a crate must never reach, by any path of normal dependencies. `ARCHITECTURE.md` says why.

use anyhow::{Result, bail, ensure};
use cluster_tests::workspace_root;

use crate::run;

/// (from, never to)
const RULES: &[(&str, &str)] = &[
    ("hostd-protocol", "tokio"),
    ("hostd-protocol", "openraft"),
    ("hostd-protocol", "wasmtime"),
    ("hostd-machine", "tokio"),
    ("hostd-machine", "openraft"),
    ("hostd-gateway", "openraft"),
    ("hostd-gateway", "wasmtime"),
    ("hostd-replica", "hostd-gateway"),
    ("hostd-client", "openraft"),
    ("hostd-client", "wasmtime"),
    ("hostd-client", "hostd-machine"),
    ("hostd-client", "clap"),
    ("hostd-sdk", "tokio"),
    ("ticket", "tokio"),
    ("ticket", "hostd-machine"),
    ("kv", "tokio"),
    ("kv", "hostd-machine"),
    ("xtask", "wasmtime"),
    ("hostd-history", "hostd-protocol"),
];

/// Checks every rule and names each path that breaks one.
pub(crate) fn check() -> Result<()> {
    // A rule about a crate that nobody uses, or that is misspelt, would hold by itself.
    let lock = std::fs::read_to_string(workspace_root().join("Cargo.lock"))?;
    let mut broken = 0;
    for (from, never) in RULES {
        ensure!(
            lock.contains(&format!("name = \"{never}\"\n")),
            "Cargo.lock does not know {never}"
        );
        match path(from, never)? {
            None => println!("{from} does not reach {never}"),
            Some(path) => {
                broken += 1;
                println!("{from} REACHES {never}, which it must not:\n{path}");
            }
        }
    }
    if broken > 0 {
        bail!("{broken} of {} boundaries broken", RULES.len());
    }
    Ok(())
}

/// The way from one crate to another, as a tree with the other one on top.
fn path(from: &str, to: &str) -> Result<Option<String>> {
    let mut command = run::cargo(&["tree", "-p", from, "-e", "normal", "-i", to]);
    let output = command.output()?;
    let error = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        let path = String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned();
        return Ok((!path.is_empty()).then_some(path));
    }
    // Not even in the graph: cargo finds no such package below `from`.
    if error.contains(&format!("`{to}` did not match any packages")) {
        return Ok(None);
    }
    bail!("`{}` failed: {}", run::as_typed(&command), error.trim())
}
