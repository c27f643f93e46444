//! The doors of a node: one UDP port, QUIC with mutual TLS, clients and peers told apart by ALPN.
//!
//! A client's connection carries one or a few long-lived streams of requests; the gateway reads
//! frames, asks the [`Service`], and writes the answers back in whatever order they come. A
//! peer's connection is handed to the [`PeerHandler`] as it is. Who somebody is, the verified
//! certificate says and nothing else.
//!
//! What it guards: who may connect, how much of the node one connection and all of them may take
//! ([`Limits`]), and that no request hurts another's. What it must not know: what a request
//! means, the replica, consensus.

#![forbid(unsafe_code)]

mod client;
mod exchange;
mod limits;
mod listener;
mod service;

pub use limits::{Limits, Load};
pub use listener::{BindError, Gateway, bind};
pub use service::{PeerHandler, Service};
