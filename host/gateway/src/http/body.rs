//! Bodies: read within limits, and written in pieces.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::StatusCode;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, timeout_at};

use super::admit::Slot;
use super::backlog::Backlog;
use super::refused::Refused;
use crate::Limits;

/// A body that comes more slowly than so many bytes a second is not waited for.
const RATE_MIN: u32 = 1_024;

/// Bytes that are given to a connection at once. A stream has so many more waiting than its reader
/// lets it send.
const PIECE_BYTES: usize = 16 << 10;

/// All of a request's body.
pub(super) async fn read(body: Body, limits: &Limits, slot: &Slot) -> Result<Bytes, Refused> {
    let max = limits.request_bytes_max;
    let too_large =
        || Refused::too_large(format!("the body is larger than the limit of {max} bytes"));
    if HttpBody::size_hint(&body).lower() > max as u64 {
        return Err(too_large());
    }
    let begun = Instant::now();
    let mut body = pin!(body);
    let mut whole = BytesMut::new();
    loop {
        let earned = Duration::from_secs(whole.len() as u64) / RATE_MIN;
        let deadline = begun + limits.stall_timeout + earned;
        let frame = match timeout_at(deadline, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => return Ok(whole.freeze()),
            Ok(Some(Err(error))) => {
                return Err(Refused::invalid(format!("the body ended early: {error}")));
            }
            Err(_) => {
                let message = "the body came too slowly; send it faster, or less at a time";
                return Err(Refused::new(
                    StatusCode::REQUEST_TIMEOUT,
                    "timeout",
                    message,
                ));
            }
        };
        let Ok(piece) = frame.into_data() else {
            continue;
        };
        if whole.len() + piece.len() > max {
            return Err(too_large());
        }
        if !slot.grow(limits, piece.len()) {
            return Err(Refused::overloaded());
        }
        whole.extend_from_slice(&piece);
    }
}

/// An answer's body, which holds its request's place until it is taken.
pub(super) struct Held {
    body: Body,
    /// What of a frame was not given yet.
    rest: Bytes,
    backlog: Arc<Backlog>,
    /// Bytes that the backlog counts for this answer.
    waits: usize,
    _slot: Option<Slot>,
}

impl Held {
    /// Of the body `waits` bytes are in `backlog` already.
    pub(super) fn new(body: Body, slot: Option<Slot>, backlog: Arc<Backlog>, waits: usize) -> Self {
        Self {
            body,
            rest: Bytes::new(),
            backlog,
            waits,
            _slot: slot,
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.backlog.take(self.waits);
    }
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                ended => return Poll::Ready(ended),
            };
            match frame.into_data() {
                Ok(data) => self.rest = data,
                Err(frame) => return Poll::Ready(Some(Ok(frame))),
            }
        }
        let count = self.rest.len().min(PIECE_BYTES);
        let piece = self.rest.split_to(count);
        // A stream of events has no size of its own, and nothing of it waits here.
        let counted = self.waits.min(count);
        self.waits -= counted;
        self.backlog.take(counted);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let body = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower() + rest);
        if let Some(upper) = body.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}
