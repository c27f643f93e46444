//! Plugin files that are no plugins.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use cluster_tests::{Cluster, PATIENCE};

use crate::support::story;

/// Starts a node with this plugin file, which must end with exit code 2 and one line that names
/// the file and contains `reason`.
fn refused(cluster: &mut Cluster, file: PathBuf, reason: &str) -> Result<()> {
    let mut launch = cluster.launch(1)?;
    launch.plugins = vec![file.clone()];
    let node = cluster.spawn(launch)?;
    let code = node.wait_exit(PATIENCE)?;
    let message = node.log_since_start();
    ensure!(
        code == Some(2),
        "{}: ended with {code:?}: {message}",
        file.display()
    );
    ensure!(
        message.trim_end().lines().count() == 1,
        "more than one line: {message}"
    );
    ensure!(
        message.contains(&file.display().to_string()),
        "the file is not named: {message}"
    );
    ensure!(
        message.contains(reason),
        "{reason:?} is not said: {message}"
    );
    Ok(())
}

fn write(cluster: &Cluster, name: &str, content: &[u8]) -> Result<PathBuf> {
    let file = cluster.directory().join(name);
    std::fs::write(&file, content)?;
    Ok(file)
}

/// The header of a component and nothing else: a valid component that exports nothing.
const EMPTY_COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// The header of a core module and nothing else: valid, and not made for any world.
const EMPTY_MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// A component section that imports a resource of this name
/// (<https://github.com/WebAssembly/component-model/blob/main/design/mvp/Binary.md>).
fn import_section(name: &str) -> Vec<u8> {
    let mut import = vec![1, 0, name.len() as u8];
    import.extend_from_slice(name.as_bytes());
    import.extend_from_slice(&[3, 1]);
    let mut section = vec![10, import.len() as u8];
    section.extend_from_slice(&import);
    section
}

#[test]
fn a_plugin_file_that_is_none_is_refused_before_anything_starts() {
    story(0, |cluster| {
        let ticket = std::fs::read(cluster.artifacts.plugin("ticket")?)?;
        let missing = cluster.directory().join("missing.wasm");
        refused(cluster, missing, "No such file")?;
        let directory = cluster.directory().to_owned();
        refused(cluster, directory, "directory")?;
        for (name, content, reason) in [
            ("empty.wasm", &b""[..], "empty"),
            ("truncated.wasm", &ticket[..ticket.len() / 2], ""),
            ("cut-by-one.wasm", &ticket[..ticket.len() - 1], ""),
            ("text.wasm", b"#!/bin/sh\necho not wasm\n", "WebAssembly"),
            ("module.wasm", EMPTY_MODULE, ""),
            ("component.wasm", EMPTY_COMPONENT, "hostd:plugin"),
        ] {
            let file = write(cluster, name, content)?;
            refused(cluster, file, reason)?;
        }
        ensure!(
            !cluster.data().join("node-1").exists(),
            "a data directory was made"
        );
        Ok(())
    });
}

#[test]
fn an_import_that_the_world_lacks_is_named() {
    story(0, |cluster| {
        let mut ticket = std::fs::read(cluster.artifacts.plugin("ticket")?)?;
        ticket.extend_from_slice(&import_section("launch-missiles"));
        let file = write(cluster, "missiles.wasm", &ticket)?;
        refused(cluster, file, "launch-missiles")
    });
}

#[test]
fn a_bad_plugin_file_on_a_further_node_does_not_disturb_the_cluster() {
    story(1, |cluster| {
        let mut launch = cluster.launch_joining(2)?;
        launch.plugins = vec![write(cluster, "bad.wasm", b"bad")?];
        let code = cluster.spawn(launch)?.wait_exit(PATIENCE)?;
        ensure!(code == Some(2), "ended with {code:?}");
        ensure!(cluster.hostctl().call(&["ticket"])? == "1");
        ensure!(
            cluster.status()?.len() == 1,
            "a node that did not start is a member"
        );
        Ok(())
    });
}

#[test]
fn another_file_of_an_installed_plugin_is_no_upgrade() {
    story(1, |cluster| {
        let mut ticket = std::fs::read(cluster.artifacts.plugin("ticket")?)?;
        // A custom section changes the digest and nothing else.
        ticket.extend_from_slice(&[0, 5, 4, b'n', b'o', b't', b'e']);
        let file = write(cluster, "other-ticket.wasm", &ticket)?;
        cluster.hostctl().call(&["ticket"])?;
        cluster.stop()?;
        let node = cluster.node(1)?;
        node.launch.plugins = vec![file];
        cluster.restart(1)?;
        let log = cluster.node(1)?.log_since_start();
        ensure!(
            log.contains("hostctl plugin upgrade"),
            "no hint in the log:\n{log}"
        );
        ensure!(cluster.hostctl().call(&["ticket"])? == "2");
        Ok(())
    });
}
