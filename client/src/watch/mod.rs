//! Watching changes, over whatever happens to connections and nodes.

mod line;
mod watcher;

pub(crate) use line::Lines;
pub use watcher::Watcher;
