//! The doors of a node, on one address: QUIC on UDP, for clients and peers; RESP and HTTP on TCP.
//!
//! Each door turns what its clients say into [`hostd_protocol::Request`]s, asks the [`Service`], and
//! says the answers in its own words. A peer's connection is handed to the [`PeerHandler`] as it is.
//! Who somebody is, the verified certificate says, or over TCP a password or token.
//!
//! What it guards: who may connect, how much of the node one connection and all of them may take
//! ([`Limits`]), and that no request hurts another's. What it must not know: what a request
//! means, the replica, consensus.

#![forbid(unsafe_code)]

mod answer;
mod gateway;
mod http;
mod limits;
mod quic;
mod resp;
mod room;
mod service;
mod tcp;

pub use gateway::{BindError, Doors, Gateway};
pub use limits::{Limits, Load};
pub use service::{Caller, Check, Elsewhere, PeerHandler, Service};
pub use tcp::{Require, TcpDoor};
