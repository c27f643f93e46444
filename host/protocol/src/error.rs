//! What a caller gets instead of a reply.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{NodeId, Rejection, Revision};

/// Why a call has no reply.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum CallError {
    /// The command was decided and refused; retrying it unchanged gives the same answer.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// This node, or the cluster, could not decide now. Retry, with the same session or
    /// idempotency key for a write.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// A condition of a node or of the cluster, never replicated.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[error("{}: {message}", code.as_str())]
pub struct Failure {
    /// What kind of condition.
    pub code: FailureCode,
    /// One line for a person that says what to do.
    pub message: String,
    /// The leader as this node knows it, for a client that wants to go there.
    pub leader: Option<(NodeId, String)>,
}

/// Kinds of [`Failure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureCode {
    /// The caller has not proved who it is.
    Unauthenticated,
    /// The caller may not do this.
    PermissionDenied,
    /// The request itself is malformed or over a limit of the connection.
    TooLarge,
    /// The request is malformed, or asks for what cannot be done in this state of the cluster.
    InvalidArgument,
    /// No leader is known: an election is going on, or this node is cut off.
    NoLeader,
    /// The leader cannot reach a majority.
    NoQuorum,
    /// The deadline passed. The outcome of a write is unknown.
    Timeout,
    /// Queues are full; nothing was started.
    Overloaded,
    /// The disk is full; nothing was started.
    NoSpace,
    /// This version does not have it yet.
    Unsupported,
    /// The node met a fault of its own and stops.
    Fault,
    /// A watch cannot go on from where it is: changes before this revision are not known here any
    /// more. Another node may know them; else read the present state and watch from there.
    Compacted(Revision),
}

impl FailureCode {
    /// The code as users see it.
    pub fn as_str(self) -> &'static str {
        match self {
            FailureCode::Unauthenticated => "unauthenticated",
            FailureCode::PermissionDenied => "permission_denied",
            FailureCode::TooLarge => "too_large",
            FailureCode::InvalidArgument => "invalid_argument",
            FailureCode::NoLeader => "no_leader",
            FailureCode::NoQuorum => "no_quorum",
            FailureCode::Timeout => "timeout",
            FailureCode::Overloaded => "overloaded",
            FailureCode::NoSpace => "no_space",
            FailureCode::Unsupported => "unsupported",
            FailureCode::Fault => "fault",
            FailureCode::Compacted(_) => "compacted",
        }
    }
}

impl Failure {
    /// A failure with this code and message, naming no leader.
    pub fn new(code: FailureCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            leader: None,
        }
    }
}

impl CallError {
    /// The code as users see it.
    pub fn code(&self) -> &str {
        match self {
            CallError::Rejected(rejection) => rejection.code.as_str(),
            CallError::Failed(failure) => failure.code.as_str(),
        }
    }

    /// One line for a person.
    pub fn message(&self) -> &str {
        match self {
            CallError::Rejected(rejection) => &rejection.message,
            CallError::Failed(failure) => &failure.message,
        }
    }

    /// `hostctl`'s exit code for this error.
    pub fn exit_code(&self) -> u8 {
        match self.code() {
            "unknown_command" | "wrong_arity" | "invalid_argument" | "too_large" => 3,
            "rejected" | "not_found" => 4,
            "unauthenticated" | "permission_denied" => 5,
            "fuel_exhausted" | "memory_exceeded" | "trapped" | "read_only" => 6,
            "no_leader" | "no_quorum" | "timeout" | "overloaded" | "no_space" | "session_full"
            | "migrating" => 7,
            "compacted" => 8,
            "unsupported" => 2,
            _ => 1,
        }
    }

    /// Whether the same request, in the same session or with the same key, may be sent again.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            CallError::Failed(Failure {
                code: FailureCode::NoLeader
                    | FailureCode::NoQuorum
                    | FailureCode::Timeout
                    | FailureCode::Overloaded
                    | FailureCode::Fault,
                ..
            })
        )
    }
}
