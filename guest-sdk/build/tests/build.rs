//! Real builds, with whichever toolchain this machine has.

use std::path::{Path, PathBuf};

use hostd_plugin_build::{Options, Plugin, build};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A crate outside of any workspace, with this source.
fn crate_with(source: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let manifest = "[package]\nname = \"lone\"\nversion = \"0.1.0\"\nedition = \"2024\"\n";
    std::fs::write(directory.path().join("Cargo.toml"), manifest).unwrap();
    std::fs::create_dir(directory.path().join("src")).unwrap();
    std::fs::write(directory.path().join("src/lib.rs"), source).unwrap();
    directory
}

fn build_crate(source: &str) -> anyhow::Result<Plugin> {
    let directory = crate_with(source);
    let options = Options {
        // Where plugins are built anyway: a toolchain that compiles the standard library has done
        // it there.
        target_dir: Some(Path::new(env!("CARGO_TARGET_TMPDIR")).join("../guest")),
        ..Options::default()
    };
    build(directory.path(), &options)
}

#[test]
fn a_plugin_of_this_workspace_is_built_by_directory_and_by_name() {
    let lock = std::fs::read(workspace().join("Cargo.lock")).unwrap();
    let by_directory = build(workspace().join("plugins/ticket"), &Options::default()).unwrap();
    assert_eq!(by_directory.name, "ticket");
    assert!(
        by_directory.component.starts_with(b"\0asm\x0d\0\x01\0"),
        "it is a component"
    );

    let options = Options {
        package: Some("ticket".into()),
        ..Options::default()
    };
    let by_name = build(workspace(), &options).unwrap();
    assert_eq!(
        by_name.component, by_directory.component,
        "builds are reproducible"
    );
    let lock_after = std::fs::read(workspace().join("Cargo.lock")).unwrap();
    assert!(lock == lock_after, "Cargo.lock was rewritten");
}

#[test]
fn builds_at_the_same_time_do_not_disturb_each_other() {
    let output = tempfile::tempdir().unwrap();
    let builds: Vec<_> = (0..3)
        .map(|_| {
            let output = output.path().to_owned();
            std::thread::spawn(move || {
                let plugin = build(workspace().join("plugins/ticket"), &Options::default())?;
                let file = plugin.write(output)?;
                anyhow::Ok((file, plugin.component))
            })
        })
        .collect();
    for build in builds {
        let (file, component) = build.join().unwrap().unwrap();
        assert_eq!(std::fs::read(file).unwrap(), component);
    }
}

#[test]
fn no_path_of_this_machine_is_in_a_component() {
    let plugin = build(workspace().join("plugins/kv"), &Options::default()).unwrap();
    let text = String::from_utf8_lossy(&plugin.component);
    let home = std::env::home_dir().unwrap();
    assert!(!text.contains(&format!("{}/", home.display())));
}

#[test]
fn a_library_that_is_no_plugin_is_told_what_it_lacks() {
    let error = build_crate("pub fn nothing() {}").unwrap_err();
    assert!(format!("{error:#}").contains("#[plugin]"), "{error:#}");
}

#[test]
fn errors_of_the_compiler_are_passed_on() {
    let error = build_crate("pub fn nothing() -> u32 { \"text\" }").unwrap_err();
    assert!(
        format!("{error:#}").contains("mismatched types"),
        "{error:#}"
    );
}

#[test]
fn what_is_no_package_is_named() {
    let empty = tempfile::tempdir().unwrap();
    let error = build(empty.path(), &Options::default()).unwrap_err();
    assert!(
        error.to_string().contains("not a cargo package"),
        "{error:#}"
    );

    let error = build(workspace(), &Options::default()).unwrap_err();
    assert!(
        error.to_string().contains("name one of its packages"),
        "{error:#}"
    );

    let options = Options {
        package: Some("nonesuch".into()),
        ..Options::default()
    };
    let error = build(workspace(), &options).unwrap_err();
    assert!(
        error.to_string().contains("no package `nonesuch`"),
        "{error:#}"
    );
}
