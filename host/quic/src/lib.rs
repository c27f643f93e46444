//! What both ends of hostd's QUIC connections share, clients and nodes alike: the transport's
//! settings ([`bind`], [`server_config`], [`client_config`]), frames on long-lived streams
//! ([`FrameReader`], [`FrameWriter`]), and why a connection ended ([`Close`], [`Ended`]).
//!
//! This crate must not know what the frames say: no requests, no service, no retries.

#![forbid(unsafe_code)]

mod chunks;
mod close;
mod reader;
mod transport;
mod writer;

pub use chunks::{FrameChunks, NoFrame};
pub use close::{Close, Ended};
pub use reader::{FrameReader, Next};
pub use transport::{
    IDLE_TIMEOUT, Profile, SERVER_NAME, bind, bind_abstract, client_config, credit_peer,
    server_config,
};
pub use writer::FrameWriter;
