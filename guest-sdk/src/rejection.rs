//! Why a command is refused.

pub use crate::bindings::hostd::plugin::types::{Refusal, Rejection};

impl Rejection {
    /// A refusal with the plugin's own code. A code in all capitals is what a Redis client sees
    /// first, as `WRONGTYPE` is.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Rejection::Rejected(Refusal {
            code: code.into(),
            message: message.into(),
        })
    }

    /// What was asked for is not there.
    pub fn not_found(message: impl Into<String>) -> Self {
        Rejection::NotFound(message.into())
    }

    /// An argument does not have its type or range.
    pub fn invalid_argument(message: impl Into<String>) -> Self {
        Rejection::InvalidArgument(message.into())
    }

    /// Too few or too many arguments.
    pub fn wrong_arity(message: impl Into<String>) -> Self {
        Rejection::WrongArity(message.into())
    }
}
