//! Certificates: who a node or a client is, and the TLS configurations that prove it.
//!
//! # Who is who
//!
//! - A **node's** certificate has the URI subject alternative name `hostd://<cluster>/node/<id>`.
//! - A **client's** certificate has its identity in the subject's common name.
//!
//! Nothing else in a certificate matters to nodes and to hostd's clients, so one's own PKI can issue them: load the files with
//! [`Credentials::load`]. Extended key usage, where present, must allow what the certificate is
//! used for: a node both serves and dials, a client dials.
//!
//! Host names and IP addresses are deliberately *not* checked by them. Nodes are addressed by IP address
//! or by whatever name works from where one stands, addresses change, and none of that says who a
//! node is. What is checked instead: the chain leads to the cluster's authority, and the leaf
//! names a node of the cluster, and the very node that was dialled where that is known
//! ([`Credentials::peer_config`]).
//!
//! Browsers, curl and redis-cli look at names and at nothing else, so a node's certificate has those
//! under which it is reached ([`ServerNames`]).
//!
//! # A pki directory
//!
//! | file | what |
//! |---|---|
//! | `ca.pem` | the authority's certificate; its subject carries the cluster's random name |
//! | `ca-key.pem` | the authority's key; only where certificates are issued |
//! | `node-N.pem`, `node-N-key.pem` | node N |
//! | `NAME.pem`, `NAME-key.pem` | client NAME; `admin` is made with the authority |
//!
//! The directory has mode 0700 and the keys 0600. Files appear whole or not at all, and several
//! nodes may make the directory at the same moment ([`provision`]).
//!
//! An authority is valid for [`CA_VALIDITY_DAYS`], a certificate for [`LEAF_VALIDITY_DAYS`];
//! both begin a day before they are made, for clocks that disagree. A node renews its own when it
//! starts and finds less than [`RENEW_BEFORE_DAYS`] left, where it has the authority's key.
//!
//! This crate reads and writes files and makes configurations. It knows no socket and no runtime.

#![forbid(unsafe_code)]

mod authority;
mod credentials;
mod current;
mod enroll;
mod error;
mod files;
mod identity;
mod info;
mod names;
mod rotation;
mod tls;
mod verifier;

pub use authority::{Authority, Existing, Subject, node_stem, provision};
pub use credentials::Credentials;
pub use current::CurrentCredentials;
pub use enroll::{Enrollment, JoinToken, proof_digest};
pub use error::PkiError;
pub use files::{CA_FILE, CA_KEY_FILE, certificate_file, key_file};
pub use identity::Identity;
pub use info::{CertificateInfo, show};
pub use names::ServerNames;

/// The client certificate that is made together with an authority.
pub const ADMIN: &str = "admin";

/// How long an authority is valid: ten years.
pub const CA_VALIDITY_DAYS: i64 = 3653;

/// How long a node's or a client's certificate is valid: two years.
pub const LEAF_VALIDITY_DAYS: i64 = 730;

/// [`provision`] replaces a certificate that has fewer days left than this.
pub const RENEW_BEFORE_DAYS: i64 = 60;

/// By which certificates and secrets are known.
fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    sum.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
    sum
}
