//! Where things are in the repository.

use std::path::{Path, PathBuf};

/// This crate's directory.
pub(crate) fn bench() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Cargo's target directory: the one this program was built into.
pub(crate) fn target() -> PathBuf {
    std::env::current_exe()
        .ok()
        // target/PROFILE/hostd-bench
        .and_then(|file| Some(file.parent()?.parent()?.to_owned()))
        .unwrap_or_else(|| bench().join("../target"))
}
