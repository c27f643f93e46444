//! Watches on what this node applies.
//!
//! The apply thread hands every change to the `hub`, once it is visible to queries: one bounded past
//! that all watchers read with cursors of their own, so that a watcher has no queue, and one that is
//! slow costs nobody anything. An `index` of prefixes finds those whom a change concerns; the others
//! are not woken. [`Watching`] is one watch from its beginning: the present state if it was asked for,
//! then changes and progress.
//!
//! It must not know who watches, or what a key means to its plugin.

mod guard;
mod hub;
mod index;
mod watching;

pub(crate) use guard::guard;
pub(crate) use hub::Hub;
pub use watching::Watching;
