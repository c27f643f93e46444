//! Answers that must be of a certain kind.

use hostd_protocol::{CallError, Failure, FailureCode, Reply, Response};

/// What a call is answered.
pub(crate) fn reply(response: Response) -> Result<Reply, CallError> {
    match response {
        Response::Reply(reply) => Ok(reply),
        _ => Err(unexpected()),
    }
}

/// What is said of an answer to another question.
pub(crate) fn unexpected() -> CallError {
    let message = "the node gave an answer to another question";
    Failure::new(FailureCode::Fault, message).into()
}
