//! A hostd node as a library: [`Node::start`] one from a [`Config`], call it, shut it down.
//!
//! This crate wires the others and alone sees them all: certificates (`hostd-pki`), the doors
//! (`hostd-gateway`), consensus (`hostd-replica`) and the machine (`hostd-machine`). The binary
//! is a thin shell around it.

#![forbid(unsafe_code)]

mod access;
mod audit;
mod config;
mod data_dir;
pub mod dev;
mod enroll;
mod ground;
mod health;
pub mod logging;
mod metrics;
mod node;
pub mod options;
mod order;
mod plugins;
mod policy;
mod recover;
mod reload;
mod replication;
mod restore;
mod service;
mod snapshots;
mod watch;

pub use audit::AuditLog;
pub use config::{Config, ConfigError, DEFAULT_IDENTITY, Formation, Pki, Secret};
pub use ground::Ground;
pub use hostd_gateway::{Doors, Require};
pub use node::{Node, StartError};
pub use plugins::{PluginFile, load as load_plugins};
