//! Running plugins: one engine per node, one instance per plugin between checkpoints.

mod engine;
mod host;
mod instance;
pub(crate) mod types;

pub use engine::Engine;
pub(crate) use host::charge;
pub(crate) use host::{HostState, HostStop, Scope, Task};
pub(crate) use instance::{Finished, Instance, Stop, describe};
