//! How a new node gets its certificate: a join token, and what is said for it.
//!
//! On TCP with TLS and ALPN [`ALPN_ENROLL`], where the new node has no certificate yet: one frame
//! with an [`EnrollRequest`], answered by one with `Result<Enrolled, Failure>` (see [`crate::codec`]).

use serde::{Deserialize, Serialize};

use crate::{NodeId, TimeNs};

/// ALPN protocol of a node that asks for its certificate.
pub const ALPN_ENROLL: &[u8] = b"hostd-enroll/1";

/// The most bytes that either side says.
pub const ENROLL_BYTES_MAX: usize = 64 << 10;

/// The most names that a node's certificate is asked to have.
pub const ENROLL_HOSTS_MAX: usize = 16;

/// Tokens that a cluster has at most.
pub const TOKENS_MAX: usize = 100;

/// Numbers of nodes that were taken in by tokens, at most: as many as a cluster remembers.
pub const ENROLLED_MAX: usize = 10_000;

/// The longest that a token lasts: a month.
pub const TOKEN_TTL_MAX_NS: u64 = 30 * 24 * 3_600 * 1_000_000_000;

/// The longest id of a token.
pub const TOKEN_ID_BYTES_MAX: usize = 32;

/// What a node that wants to join says.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrollRequest {
    /// The token's id.
    pub id: String,
    /// What only who has the token's secret can say. Its digest is what the cluster has.
    pub proof: [u8; 32],
    /// The number that the node is to have.
    pub node: NodeId,
    /// Names and addresses by which it is reached over TLS, at most [`ENROLL_HOSTS_MAX`].
    pub hosts: Vec<String>,
    /// A PKCS #10 certificate signing request in DER: of what it says, the key alone counts.
    #[serde(with = "serde_bytes")]
    pub request: Vec<u8>,
}

impl std::fmt::Debug for EnrollRequest {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("EnrollRequest")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

/// What it gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    /// Its certificate, PEM.
    pub certificate: String,
    /// The cluster's authorities, PEM.
    pub authorities: String,
}

/// What is asked about tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TokenRequest {
    /// Change them. Answered by [`crate::Response::Done`].
    Change(TokenChange),
    /// Those that there are. Answered by [`crate::Response::Tokens`].
    List,
}

/// A change of the tokens. They are state: all nodes have them, and each is used once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TokenChange {
    /// Adds one.
    Create {
        /// Its id, in lower-case letters and digits, at most [`TOKEN_ID_BYTES_MAX`].
        id: String,
        /// The digest of its proof.
        digest: [u8; 32],
        /// The only node that it takes in; any new one when `None`.
        node: Option<NodeId>,
        /// How long it lasts, at most [`TOKEN_TTL_MAX_NS`].
        ttl_ns: u64,
    },
    /// Takes one back.
    Revoke {
        /// Its id.
        id: String,
    },
    /// Uses one up, for a node. Only nodes ask for this.
    Use {
        /// Its id.
        id: String,
        /// The digest of the proof that the new node gave.
        digest: [u8; 32],
        /// The new node.
        node: NodeId,
    },
}

/// A token, without what would let anybody use it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenInfo {
    /// Its id.
    pub id: String,
    /// The only node that it takes in; any new one when `None`.
    pub node: Option<NodeId>,
    /// When it is of no use any more, by the replicated clock.
    pub expires: TimeNs,
}
