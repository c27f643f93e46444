//! Builds the component under test, once in a process.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The component that the crate at `manifest_dir` makes.
///
/// Built when first asked for; tests that run at the same time wait for each other. Test
/// binaries that run at the same time wait in cargo.
///
/// # Panics
/// When the crate does not build, with the compiler's output, or when no toolchain is found,
/// with the command that installs one.
pub fn component(manifest_dir: impl AsRef<Path>) -> Arc<[u8]> {
    static BUILT: Mutex<Option<HashMap<PathBuf, Arc<[u8]>>>> = Mutex::new(None);
    let manifest_dir = manifest_dir.as_ref();
    // A build that failed left nothing half done: the next test may report it again.
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let built = built.get_or_insert_default();
    if let Some(component) = built.get(manifest_dir) {
        return Arc::clone(component);
    }
    let plugin = hostd_plugin_build::build(manifest_dir, &hostd_plugin_build::Options::default())
        .unwrap_or_else(|error| panic!("{error:#}"));
    let component: Arc<[u8]> = plugin.component.into();
    built.insert(manifest_dir.to_owned(), Arc::clone(&component));
    component
}
