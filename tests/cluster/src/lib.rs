//! Clusters of real hostd processes on this machine: started on free loopback ports in a
//! temporary directory, killed, stopped, paused and restarted by process id, asked through
//! `hostctl`.
//!
//! `stories/` holds the tests; `cargo xtask demo` runs on this library as well. It knows hostd
//! only from outside: the two binaries, their flags, their replies and their exit codes.

#![forbid(unsafe_code)]

mod artifacts;
mod clocks;
mod cluster;
mod hostctl;
mod minder;
mod namespaces;
mod node;
mod ports;
mod proxy;
mod row;
mod signal;
mod tickets;
mod wait;

pub use artifacts::{Artifacts, target_directory, workspace_root};
pub use clocks::Clocks;
pub use cluster::Cluster;
pub use hostctl::{Answer, Hostctl};
pub use namespaces::Namespaces;
pub use node::{Launch, Node};
pub use ports::{free_address, is_free};
pub use proxy::Proxy;
pub use row::Row;
pub use signal::Signal;
pub use tickets::{Ticket, Tickets};
pub use wait::{CHECKPOINT_PATIENCE, PATIENCE, wait_for, wait_for_value};
