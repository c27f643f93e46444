//! Errors that the client finds out by itself, in words that say what to do.

use std::fmt::Write;
use std::time::Duration;

use hostd_protocol::{CallError, Failure, FailureCode};
use hostd_quic::Ended;

/// Nothing was sent, because no node could be reached.
pub(crate) fn unreachable(addresses: &[(String, Option<Ended>)], after: Duration) -> CallError {
    let mut message = format!("no server answers within {}:", rounded(after));
    for (position, (address, why)) in addresses.iter().enumerate() {
        let separator = if position == 0 { "" } else { "," };
        // Writing to a string cannot fail.
        let _ = write!(message, "{separator} {address}");
        if let Some(why) = why {
            let _ = write!(message, " ({})", why.message());
        }
    }
    message.push_str("; start hostd there, or name the servers with -s or HOSTCTL_SERVER");
    Failure::new(FailureCode::NoLeader, message).into()
}

/// A server was reached, but one side does not accept the other's certificate.
pub(crate) fn credentials(address: &str, why: &str) -> CallError {
    Failure::new(
        FailureCode::Unauthenticated,
        format!(
            "{address}: {why}; use a certificate of the cluster's own authority (--pki, or --ca, --cert and --key)"
        ),
    )
    .into()
}

/// It was sent, and the deadline passed.
pub(crate) fn timeout(after: Duration, of_write: bool) -> CallError {
    let message = if of_write {
        format!(
            "no answer within {}; whether it took effect is unknown: a retry with the same idempotency key cannot take effect twice",
            rounded(after)
        )
    } else {
        format!("no answer within {}", rounded(after))
    };
    Failure::new(FailureCode::Timeout, message).into()
}

/// As [`timeout`], of a change that nobody would recognise if it came again.
pub(crate) fn timeout_of_change(after: Duration) -> CallError {
    let message = format!(
        "no answer within {}; whether it took effect is unknown: look at `hostctl status` before trying again",
        rounded(after)
    );
    Failure::new(FailureCode::Timeout, message).into()
}

/// The node was lost before it answered something that must not be asked twice.
pub(crate) fn lost(address: &str, why: &str) -> CallError {
    Failure::new(
        FailureCode::Timeout,
        format!(
            "{address} was lost before it answered ({why}); whether it took effect is unknown: look at `hostctl status` before trying again"
        ),
    )
    .into()
}

/// Too large to be sent at all.
pub(crate) fn too_large(bytes: usize, limit: usize) -> CallError {
    Failure::new(
        FailureCode::TooLarge,
        format!("the arguments have {bytes} bytes, a request has room for {limit}"),
    )
    .into()
}

/// The node answered with something else than what such a request is answered with.
pub(crate) fn unexpected() -> CallError {
    Failure::new(
        FailureCode::Fault,
        "the node gave an answer of the wrong kind; are client and node of the same version?",
    )
    .into()
}

/// The client itself is set up wrongly.
pub(crate) fn setup(message: impl Into<String>) -> CallError {
    Failure::new(FailureCode::InvalidArgument, message).into()
}

/// A measured time as the round figure that it was meant to be.
fn rounded(time: Duration) -> String {
    let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX - 9);
    format!("{:?}", Duration::from_millis(ms.div_ceil(10) * 10))
}
