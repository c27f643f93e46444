//! What an author changes, and when it has changed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hostd_machine::Plugin;
use hostd_plugin_build::Options;
use notify::{EventKind, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

use super::bad;
use crate::config::ConfigError;
use crate::node::StartError;

/// An editor writes several files; the build begins when it has been quiet for so long.
const QUIET: Duration = Duration::from_millis(150);

/// Directories of a crate in which nothing is the author's.
const OTHERS: [&str; 2] = ["target", ".git"];

/// A crate, or a component.
#[derive(Clone)]
pub(super) struct Source {
    path: PathBuf,
}

impl Source {
    pub(super) fn new(path: &Path) -> Result<Self, ConfigError> {
        let path = path
            .canonicalize()
            .map_err(|error| bad(path, error.to_string()))?;
        if path.is_dir() && !path.join("Cargo.toml").is_file() {
            return Err(bad(
                &path,
                "there is no Cargo.toml; make a plugin's crate with `hostctl plugin new DIR`",
            ));
        }
        Ok(Self { path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The component, built anew where it is a crate's.
    pub(super) fn build(&self) -> Result<Vec<u8>, String> {
        if self.path.is_dir() {
            let options = Options {
                locked: false,
                verbose: true,
                ..Options::default()
            };
            let built = hostd_plugin_build::build(&self.path, &options);
            return Ok(built.map_err(|error| format!("{error:#}"))?.component);
        }
        let file = std::fs::read(&self.path).map_err(|error| error.to_string())?;
        Plugin::component_bytes(&file).map_err(|error| error.to_string())
    }

    /// Whether a file is this one's.
    fn has(&self, file: &Path) -> bool {
        let Ok(inside) = file.strip_prefix(&self.path) else {
            return false;
        };
        let first = inside.components().next();
        !first.is_some_and(|first| OTHERS.iter().any(|other| first.as_os_str() == *other))
    }
}

/// Tells which source has changed, by its place.
pub(super) struct Changes {
    receiver: mpsc::UnboundedReceiver<usize>,
    _watcher: notify::RecommendedWatcher,
}

pub(super) fn watch(sources: &[Source]) -> Result<Changes, StartError> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let known = sources.to_vec();
    let failed = |error: notify::Error| StartError::Fault(format!("watching for changes: {error}"));
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let Ok(event) = event else { return };
        if !matches!(
            event.kind,
            EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_)
        ) {
            return;
        }
        for (at, source) in known.iter().enumerate() {
            if event.paths.iter().any(|path| source.has(path)) {
                // Nobody listens any more when the node stops.
                let _ = sender.send(at);
            }
        }
    })
    .map_err(failed)?;
    for source in sources {
        // A file that is replaced is another file: its directory tells.
        let (path, mode) = if source.path.is_dir() {
            (source.path.as_path(), RecursiveMode::Recursive)
        } else {
            let parent = source.path.parent().unwrap_or(Path::new("/"));
            (parent, RecursiveMode::NonRecursive)
        };
        watcher.watch(path, mode).map_err(failed)?;
    }
    Ok(Changes {
        receiver,
        _watcher: watcher,
    })
}

impl Changes {
    /// The next source that has changed, once it is quiet.
    pub(super) async fn recv(&mut self) -> Option<usize> {
        let mut at = self.receiver.recv().await?;
        while let Ok(more) = tokio::time::timeout(QUIET, self.receiver.recv()).await {
            at = more?;
        }
        Some(at)
    }
}
