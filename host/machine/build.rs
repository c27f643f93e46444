//! Hands the versions that make up the engine identity to the compiler.

use std::path::Path;

fn main() {
    let target = std::env::var("TARGET").expect("cargo sets TARGET");
    println!("cargo::rustc-env=HOSTD_TARGET={target}");

    // wasmtime does not tell its version at run time; the lock file does.
    let manifest = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let lock_path = Path::new(&manifest).join("../../Cargo.lock");
    println!("cargo::rerun-if-changed={}", lock_path.display());
    let lock = std::fs::read_to_string(&lock_path).expect("the workspace has a lock file");
    let version = lock
        .split("[[package]]")
        .find_map(|package| {
            package.contains("name = \"wasmtime\"\n").then(|| {
                let version = package
                    .split("version = \"")
                    .nth(1)
                    .expect("packages have versions");
                version
                    .split('"')
                    .next()
                    .expect("versions are quoted")
                    .to_owned()
            })
        })
        .expect("the lock file has wasmtime");
    println!("cargo::rustc-env=HOSTD_WASMTIME_VERSION={version}");
}
