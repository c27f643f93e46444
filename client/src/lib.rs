//! Client library of hostd.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use hostd_client::{Client, Credentials};
//!
//! let credentials = Credentials::from_dir_client("data/pki".as_ref(), "admin")?;
//! let client = Client::builder()
//!     .servers(["127.0.0.1:11001", "127.0.0.1:11002"])
//!     .credentials(credentials)
//!     .connect()
//!     .await?;
//! let ticket = client.call("ticket", [""; 0]).await?;
//! # Ok(()) }
//! ```
//!
//! A [`Client`] is a handle that many tasks can clone and share: their calls travel together on
//! one connection. It learns the cluster's members from the first server that answers, goes to the
//! leader, and when a node does not answer, asks another long before the deadline.
//!
//! # Exactly once
//!
//! Every write carries what lets the cluster recognise it, so that the client may send it again
//! whenever its answer is lost: a sequence number in a session, which is opened with the first
//! write; or an idempotency key of the caller's choice ([`CallOptions::key`]), which also holds
//! across clients and restarts. After an error of code `timeout`, `no_quorum` or `fault` the
//! outcome of a write is not known when the call returns; after any other it did not take effect.
//!
//! # Watching
//!
//! [`Client::watch`] returns changes of keys, or what plugins publish, from now or an earlier revision
//! on: each once, in order, whatever happens to nodes and connections meanwhile.
//!
//! Layers, each knowing only the ones after it: `client` (what callers see) → `session`,
//! `catalogue` → `request` (one request until its deadline: retries, hedging) → `cluster` (which
//! node to ask) → `node` (dialling one address) → `link` (frames on one connection).
//! `watch` has connections of its own.

#![forbid(unsafe_code)]

mod builder;
mod catalogue;
mod client;
mod cluster;
mod director;
mod failure;
mod link;
mod node;
mod request;
mod session;
mod snapshots;
mod watch;

pub use builder::Builder;
pub use client::{CallOptions, Client};
pub use hostd_pki::Credentials;
pub use hostd_protocol::{
    Access, CallError, Consistency, Failure, FailureCode, Limits, Member, MemberChange, NodeStatus,
    PluginChange, PluginDescription, PluginInfo, PolicyChange, Rejection, RejectionCode, Reply,
    Revision, Rule,
};
pub use hostd_protocol::{
    Change, ChangeEvent, Changed, PresentKey, Start, Subject, Watch, WatchItem,
};
pub use snapshots::Snapshots;
pub use watch::Watcher;
