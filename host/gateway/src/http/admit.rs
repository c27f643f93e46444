//! What every request goes through, whatever its route: how many there may be at once, and what every
//! answer has.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::body::Body as _;
use hyper::header::{
    CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, StatusCode};

use super::body::Held;
use super::connection::Connection;
use super::refused::Refused;
use crate::gateway::Shared;
use crate::limits::RequestSlot;
use crate::{Limits, Load, Service};

/// Marks an answer that goes on for as long as its client likes.
#[derive(Clone, Copy)]
pub(super) struct Endless;

/// A request's place among all that are unanswered.
#[derive(Clone, Debug)]
pub(super) struct Slot(Arc<Mutex<RequestSlot<Arc<Load>, Arc<std::sync::atomic::AtomicUsize>>>>);

impl Slot {
    /// Counts further bytes that are held for the request. Returns whether there is room for them.
    pub(super) fn grow(&self, limits: &Limits, bytes: usize) -> bool {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slot.grow(limits, bytes)
    }
}

/// Lets a request in if there is room, and holds its place until its answer is taken.
pub(super) async fn admit<S: Service>(
    State(shared): State<Arc<Shared<S>>>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(connection) = request.extensions().get::<Connection>() else {
        return Refused::misunderstood().into_response();
    };
    let in_flight = connection.in_flight.clone();
    let backlog = connection.backlog.clone();
    if backlog.bytes() >= shared.limits.backlog_bytes_max {
        let message = "the answers that wait on this connection are to be read first";
        return Refused::new(StatusCode::TOO_MANY_REQUESTS, "overloaded", message).into_response();
    }
    let slot = RequestSlot::admit(shared.load.clone(), &shared.limits, in_flight, 0);
    let Some(slot) = slot.map(|slot| Slot(Arc::new(Mutex::new(slot)))) else {
        return Refused::overloaded().into_response();
    };
    request.extensions_mut().insert(slot.clone());
    let known = match *request.method() {
        Method::GET | Method::HEAD => request.headers().get(IF_NONE_MATCH).cloned(),
        _ => None,
    };
    let mut response = next.run(request).await;
    if is_known(known.as_ref(), &response) {
        response = unchanged(response);
    }
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("private, no-cache"));
    // What waits for a slow reader takes room as much as what came in. It is there already, so it is
    // counted and never refused.
    let waits = response.body().size_hint().lower();
    let waits = usize::try_from(waits).unwrap_or(usize::MAX);
    slot.grow(&shared.limits, waits);
    backlog.add(waits);
    // What never ends is counted as what it is, and not as a request.
    let slot = response
        .extensions()
        .get::<Endless>()
        .is_none()
        .then_some(slot);
    response.map(|body| Body::new(Held::new(body, slot, backlog, waits)))
}

/// Whether the client has this very answer (RFC 9110, section 13.1.2).
fn is_known(known: Option<&HeaderValue>, response: &Response) -> bool {
    let (Some(known), Some(tag)) = (known, response.headers().get(ETAG)) else {
        return false;
    };
    let (Ok(known), Ok(tag)) = (known.to_str(), tag.to_str()) else {
        return false;
    };
    response.status() == StatusCode::OK
        && known.split(',').any(|one| {
            let one = one.trim();
            one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag
        })
}

fn unchanged(response: Response) -> Response {
    let (mut parts, _) = response.into_parts();
    parts.status = StatusCode::NOT_MODIFIED;
    let of_the_body = |headers: &mut HeaderMap| headers.remove(CONTENT_TYPE);
    of_the_body(&mut parts.headers);
    Response::from_parts(parts, Body::empty())
}
