//! The files of a new crate. They are in `templates/plugin` as they come out, but for the names.

use std::io;
use std::path::Path;

use super::name::Name;
use super::sdk::Sdk;

const FILES: [(&str, &str); 7] = [
    (
        "Cargo.toml",
        include_str!("../../../templates/plugin/Cargo.toml.in"),
    ),
    (
        "src/lib.rs",
        include_str!("../../../templates/plugin/lib.rs.in"),
    ),
    (
        "tests/golden.rs",
        include_str!("../../../templates/plugin/golden.rs.in"),
    ),
    (
        "tests/scripts/visits_are_counted.script",
        include_str!("../../../templates/plugin/visits_are_counted.script"),
    ),
    (
        "tests/scripts/pages_are_forgotten.script",
        include_str!("../../../templates/plugin/pages_are_forgotten.script"),
    ),
    (
        "README.md",
        include_str!("../../../templates/plugin/README.md.in"),
    ),
    (".gitignore", "/target\n/data\n"),
];

/// Writes them, and tells which they are.
pub(super) fn write(directory: &Path, name: &Name, sdk: &Sdk) -> io::Result<Vec<&'static str>> {
    let [sdk_itself, testing] = sdk.dependencies();
    for (path, template) in FILES {
        let text = template
            .replace("@NAME@", name.as_str())
            .replace("@TYPE@", &name.type_name())
            .replace("@SDK@", &sdk_itself)
            .replace("@TESTING@", &testing);
        let path = directory.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, text)?;
    }
    let mut files: Vec<_> = FILES.iter().map(|(path, _)| *path).collect();
    if let Some(lock) = sdk.lock_file() {
        std::fs::copy(lock, directory.join("Cargo.lock"))?;
        files.push("Cargo.lock");
    }
    Ok(files)
}
