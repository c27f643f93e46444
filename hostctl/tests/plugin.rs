//! `hostctl plugin` as an author uses it: replies as snapshots (`tests/cmd-plugin`), and the way
//! from nothing to a tested plugin.
//!
//! `TRYCMD=overwrite cargo test -p hostctl --test plugin` writes the snapshots anew.

#[path = "support/files.rs"]
mod files;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// A snapshot runs in a directory of its own, with the files that are made for it: all in a
/// temporary place, outside of any checkout.
#[test]
fn replies() {
    let place = TempDir::new().unwrap();
    for name in ["check", "new", "crates"] {
        let snapshot = Path::new(HERE).join(format!("tests/cmd-plugin/{name}.trycmd"));
        let linked = place.path().join(format!("{name}.trycmd"));
        std::os::unix::fs::symlink(snapshot, linked).unwrap();
        let directory = place.path().join(format!("{name}.in"));
        std::fs::create_dir(&directory).unwrap();
        match name {
            "check" => files::write(&directory),
            "new" => std::fs::create_dir(directory.join("there")).unwrap(),
            _ => {
                let scripts = directory.join("votes/tests/scripts");
                std::fs::create_dir_all(&scripts).unwrap();
                std::fs::write(scripts.join("one.script"), "> top\n---\n").unwrap();
                std::fs::create_dir_all(directory.join("bare/tests/scripts")).unwrap();
            }
        }
    }
    trycmd::TestCases::new()
        .case(place.path().join("*.trycmd"))
        .run();
}

/// An author's terminal: a directory, and a target directory that is kept from test to test.
struct Author {
    place: TempDir,
}

struct Said {
    code: i32,
    out: String,
    error: String,
}

impl Author {
    fn new() -> Self {
        let place = TempDir::new().unwrap();
        Self { place }
    }

    fn target() -> PathBuf {
        Path::new(env!("CARGO_TARGET_TMPDIR")).join("authors")
    }

    fn hostctl(&self, arguments: &[&str]) -> Said {
        let output = Command::new(env!("CARGO_BIN_EXE_hostctl"))
            .args(arguments)
            .current_dir(self.place.path())
            .env("CARGO_TARGET_DIR", Self::target())
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Said {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            error: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn done(&self, arguments: &[&str]) -> String {
        let said = self.hostctl(arguments);
        assert_eq!(said.code, 0, "{arguments:?}: {}{}", said.out, said.error);
        said.out
    }

    /// Replaces a part of a file.
    fn edit(&self, file: &str, old: &str, new: &str) {
        let path = self.place.path().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(old), "{file} has no {old:?}");
        std::fs::write(path, text.replacen(old, new, 1)).unwrap();
    }
}

#[test]
fn from_nothing_to_a_tested_plugin() {
    let author = Author::new();
    let checkout = Path::new(HERE).join("..");
    let checkout = checkout.to_str().unwrap();
    let made = author.done(&["plugin", "new", "page-votes", "--sdk", checkout]);
    assert!(made.contains("SDK: "), "{made}");

    // It builds and passes as it is.
    let built = author.done(&["plugin", "build", "page-votes"]);
    let file = Author::target().join("plugins/page-votes.wasm");
    let first = format!("{} is a plugin\n", file.display());
    assert!(built.starts_with(&first), "{built}");
    assert!(built.contains("\nname           page-votes\nversion        0.1.0\n"));
    let tested = author.done(&["plugin", "test", "page-votes"]);
    assert_eq!(
        tested,
        "passed   pages_are_forgotten\npassed   visits_are_counted\n2 passed, 0 failed\n"
    );
    assert_eq!(
        author.done(&["plugin", "check", file.to_str().unwrap()]),
        built
    );

    // A change shows as a difference, until it is blessed. The new version is taken up though
    // Cargo.lock has the old one.
    author.edit("page-votes/Cargo.toml", "0.1.0", "0.2.0");
    author.edit(
        "page-votes/src/lib.rs",
        "by.unwrap_or(1)",
        "by.unwrap_or(2)",
    );
    let said = author.hostctl(&["plugin", "test", "page-votes"]);
    assert_eq!(said.code, 1, "{}", said.error);
    let difference = "\n-(integer) 1\n-(integer) 11\n";
    assert!(said.out.contains("FAILED   visits_are_counted\n--- "));
    assert!(said.out.contains(difference), "{}", said.out);
    assert!(said.out.contains("\n+(integer) 2\n+(integer) 12\n"));
    assert!(said.out.ends_with("1 passed, 1 failed\n"), "{}", said.out);
    assert!(said.error.contains("\nfailed: 1 of 2 scripts"));
    let one = ["plugin", "test", "page-votes", "pages_are_forgotten"];
    assert!(author.done(&one).ends_with("\n1 passed, 0 failed\n"));
    let blessed = author.done(&["plugin", "test", "page-votes", "--bless"]);
    assert!(blessed.contains("blessed  visits_are_counted\n"));
    author.done(&["plugin", "test", "page-votes"]);
    let out = ["--out", "votes.wasm", "-o", "json"];
    let built = author.done(&[&["plugin", "build", "page-votes"], out.as_slice()].concat());
    let built: Value = serde_json::from_str(&built).unwrap();
    assert_eq!(built["file"], "votes.wasm");
    assert_eq!(built["plugin"]["version"], "0.2.0");
    let bytes = std::fs::metadata(author.place.path().join("votes.wasm")).unwrap();
    assert_eq!(built["plugin"]["bytes"], bytes.len());

    // A script that cannot be run says where.
    let script = "page-votes/tests/scripts/pages_are_forgotten.script";
    author.edit(script, "> forget home", "sleep 1s\n> forget home");
    let said = author.hostctl(&["plugin", "test", "page-votes", "-o", "json"]);
    assert_eq!(said.code, 1);
    let report: Value = serde_json::from_str(&said.out).unwrap();
    let error = report["scripts"][0]["error"].as_str().unwrap();
    assert!(
        error.contains("line 3") && error.contains("sleep"),
        "{error}"
    );
    assert_eq!(report["scripts"][1]["ok"], true);

    // What does not compile is shown as cargo shows it.
    author.edit("page-votes/src/lib.rs", "unwrap_or(2)", "unwrap_or(\"2\")");
    for command in ["build", "test"] {
        let said = author.hostctl(&["plugin", command, "page-votes"]);
        assert_eq!(said.code, 1);
        assert_eq!(said.out, "");
        assert!(said.error.contains("error[E0308]: mismatched types"));
        let last = "\nbuild: package `page-votes` does not compile to WebAssembly\n";
        assert!(said.error.ends_with(last), "{}", said.error);
    }
}

#[test]
fn a_crate_inside_a_checkout_uses_the_sdk_there() {
    let author = Author::new();
    let checkout = author.place.path().canonicalize().unwrap();
    let sdk = checkout.join("guest-sdk");
    std::fs::create_dir(&sdk).unwrap();
    std::fs::write(sdk.join("Cargo.toml"), "[package]\nname = \"hostd-sdk\"\n").unwrap();
    let made = author.done(&["plugin", "new", "deep/inside", "-o", "json"]);
    let made: Value = serde_json::from_str(&made).unwrap();
    assert_eq!(made["sdk"]["path"], sdk.to_str().unwrap());
    assert_eq!(made["name"], "inside");
    let manifest = std::fs::read_to_string(checkout.join("deep/inside/Cargo.toml")).unwrap();
    let testing = format!("hostd-testing = {{ path = {:?} }}\n", sdk.join("testing"));
    assert!(manifest.contains(&testing), "{manifest}");
}
