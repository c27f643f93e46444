//! What a command comes to: the part of an answer that is replicated data.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Reply;

/// The result of applying one command. Every replica computes the same one, and a session keeps
/// it for retries.
pub type Outcome = Result<Reply, Rejection>;

/// A refusal that every replica computes alike. None of the command's writes happened.
///
/// It never carries trap text, addresses, or anything else that differs between replicas.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[error("{}: {message}", code.as_str())]
pub struct Rejection {
    /// What kind of refusal.
    pub code: RejectionCode,
    /// One line for a person.
    pub message: String,
}

/// Kinds of [`Rejection`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RejectionCode {
    /// No plugin has this command, or two have it and the plugin was not named.
    UnknownCommand,
    /// Too few or too many arguments, or a keyword that the command lacks.
    WrongArity,
    /// An argument does not have its type or range.
    InvalidArgument,
    /// The plugin refused, with a code of its own.
    Rejected(String),
    /// The plugin says that what was asked for is not there.
    NotFound,
    /// The command used up its fuel.
    FuelExhausted,
    /// The command asked for more memory than it may have.
    MemoryExceeded,
    /// The plugin's code trapped: a panic, a stack overflow, an access out of bounds.
    Trapped,
    /// A read command tried to write.
    ReadOnly,
    /// An argument, a key, a value or a reply is over its limit.
    TooLarge,
    /// The session is unknown or expired, so whether this command ran before cannot be told.
    SessionExpired,
    /// The command ran, but its reply is no longer kept for this retry.
    ReplyForgotten,
    /// The session has as many unacknowledged commands as it may, or as many idempotency keys are
    /// kept as may be. The command did not run.
    SessionFull,
    /// Too much was changed since the last checkpoint, or the plugin's quota is used up.
    NoSpace,
    /// The plugin's state is being migrated, and writes wait for that. The command did not run, and
    /// no retry of it is recognised.
    Migrating,
    /// No rule of the cluster lets the caller do this.
    PermissionDenied,
}

impl RejectionCode {
    /// The code as users see it. A plugin's own code is listed under `rejected`; see
    /// [`Rejection`]'s message for it.
    pub fn as_str(&self) -> &str {
        match self {
            RejectionCode::UnknownCommand => "unknown_command",
            RejectionCode::WrongArity => "wrong_arity",
            RejectionCode::InvalidArgument => "invalid_argument",
            RejectionCode::Rejected(_) => "rejected",
            RejectionCode::NotFound => "not_found",
            RejectionCode::FuelExhausted => "fuel_exhausted",
            RejectionCode::MemoryExceeded => "memory_exceeded",
            RejectionCode::Trapped => "trapped",
            RejectionCode::ReadOnly => "read_only",
            RejectionCode::TooLarge => "too_large",
            RejectionCode::SessionExpired => "session_expired",
            RejectionCode::ReplyForgotten => "reply_forgotten",
            RejectionCode::SessionFull => "session_full",
            RejectionCode::NoSpace => "no_space",
            RejectionCode::Migrating => "migrating",
            RejectionCode::PermissionDenied => "permission_denied",
        }
    }
}

impl Rejection {
    /// A rejection with this code and message.
    pub fn new(code: RejectionCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}
