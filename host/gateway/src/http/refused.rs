//! Why a request is not answered with what it asked for: a status, and `{"code", "message"}`.

use axum::Json;
use axum::response::{IntoResponse, Response};
use hostd_protocol::{CallError, FailureCode, Rejection, RejectionCode};
use hyper::StatusCode;
use hyper::header::{HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use serde_json::json;

use super::parse::Malformed;

/// Seconds after which a retry makes sense: longer than most elections.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("1");

const CHALLENGE: HeaderValue =
    HeaderValue::from_static("Bearer realm=\"hostd\", Basic realm=\"hostd\", charset=\"UTF-8\"");

/// An answer that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) code: String,
    pub(super) message: String,
    /// The plugin's own code.
    plugin_code: Option<String>,
    /// The same request may well be answered in a moment.
    retry: bool,
}

impl Refused {
    pub(super) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: message.into(),
            plugin_code: None,
            retry: false,
        }
    }

    /// The request makes no sense.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_argument", message)
    }

    pub(super) fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    }

    pub(super) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "permission_denied", message)
    }

    pub(super) fn unauthenticated(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", message)
    }

    pub(super) fn overloaded() -> Self {
        Self {
            retry: true,
            ..Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                FailureCode::Overloaded.as_str(),
                "the node has as many unanswered requests as it may; try again shortly",
            )
        }
    }

    /// The service answered another question than it was asked.
    pub(super) fn misunderstood() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            FailureCode::Fault.as_str(),
            "the node gave an answer to another question",
        )
    }
}

impl From<Malformed> for Refused {
    fn from(Malformed(reason): Malformed) -> Self {
        Self::invalid(reason)
    }
}

/// The status of a code, as CONTRACT's table has it.
fn status(code: &str) -> StatusCode {
    match code {
        "wrong_arity" | "invalid_argument" => StatusCode::BAD_REQUEST,
        "unauthenticated" => StatusCode::UNAUTHORIZED,
        "permission_denied" => StatusCode::FORBIDDEN,
        "unknown_command" | "not_found" => StatusCode::NOT_FOUND,
        "rejected" | "session_expired" | "reply_forgotten" => StatusCode::CONFLICT,
        "compacted" => StatusCode::GONE,
        "too_large" => StatusCode::PAYLOAD_TOO_LARGE,
        "fuel_exhausted" | "memory_exceeded" | "trapped" | "read_only" => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        "overloaded" => StatusCode::TOO_MANY_REQUESTS,
        "no_leader" | "no_quorum" | "timeout" | "no_space" | "session_full" | "migrating" => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        "unsupported" => StatusCode::NOT_IMPLEMENTED,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl From<CallError> for Refused {
    fn from(error: CallError) -> Self {
        let code = error.code().to_owned();
        let plugin_code = match &error {
            CallError::Rejected(Rejection {
                code: RejectionCode::Rejected(own),
                ..
            }) => Some(own.clone()),
            _ => None,
        };
        Self {
            status: status(&code),
            retry: error.is_retryable() || matches!(code.as_str(), "migrating" | "session_full"),
            message: error.message().to_owned(),
            plugin_code,
            code,
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut body = json!({ "code": self.code, "message": self.message });
        if let Some(own) = self.plugin_code {
            body["plugin_code"] = own.into();
        }
        let mut response = (self.status, Json(body)).into_response();
        if self.retry {
            response.headers_mut().insert(RETRY_AFTER, RETRY_SECONDS);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, CHALLENGE);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostd_protocol::Failure;

    #[test]
    fn every_code_has_the_status_that_the_contract_says() {
        use FailureCode as F;
        use RejectionCode as R;
        let rejected = |code| Refused::from(CallError::from(Rejection::new(code, "so")));
        for (code, status) in [
            (R::UnknownCommand, 404),
            (R::WrongArity, 400),
            (R::InvalidArgument, 400),
            (R::Rejected("BUSY".into()), 409),
            (R::NotFound, 404),
            (R::FuelExhausted, 422),
            (R::MemoryExceeded, 422),
            (R::Trapped, 422),
            (R::ReadOnly, 422),
            (R::TooLarge, 413),
            (R::SessionExpired, 409),
            (R::ReplyForgotten, 409),
            (R::SessionFull, 503),
            (R::NoSpace, 503),
            (R::Migrating, 503),
        ] {
            assert_eq!(rejected(code.clone()).status, status, "{code:?}");
        }
        let own = rejected(R::Rejected("BUSY".into()));
        assert_eq!(own.plugin_code.as_deref(), Some("BUSY"));
        let failed = |code| Refused::from(CallError::from(Failure::new(code, "so")));
        for (code, status, retry) in [
            (F::Unauthenticated, 401, false),
            (F::PermissionDenied, 403, false),
            (F::TooLarge, 413, false),
            (F::InvalidArgument, 400, false),
            (F::NoLeader, 503, true),
            (F::NoQuorum, 503, true),
            (F::Timeout, 503, true),
            (F::Overloaded, 429, true),
            (F::NoSpace, 503, false),
            (F::Unsupported, 501, false),
            (F::Fault, 500, true),
        ] {
            let refused = failed(code);
            assert_eq!(refused.status, status, "{code:?}");
            assert_eq!(
                refused.into_response().headers().contains_key(RETRY_AFTER),
                retry
            );
        }
    }
}
