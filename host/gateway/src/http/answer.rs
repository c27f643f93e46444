//! Answers in JSON.

use axum::response::{IntoResponse, Response};
use hyper::header::{CONTENT_TYPE, ETAG, HeaderName, HeaderValue};
use serde::Serialize;

/// Log index of the last entry that an answer takes account of.
const REVISION: HeaderName = HeaderName::from_static("hostd-revision");

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A document, with a tag that changes when the document does.
pub(super) fn document(value: &impl Serialize) -> Response {
    // What is serialised here has no maps with odd keys, which is all that can fail.
    let body = serde_json::to_vec(value).unwrap_or_default();
    let mut response = tagged(body);
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// As [`document`], of a state.
pub(super) fn read(value: &impl Serialize, revision: u64) -> Response {
    let mut response = document(value);
    response.headers_mut().insert(REVISION, revision.into());
    response
}

/// A body with its tag. A hash is right whichever node answers, and is not disturbed by entries that
/// change nothing of what was read.
pub(super) fn tagged(body: Vec<u8>) -> Response {
    let hash = blake3::hash(&body);
    let tag = format!("\"{}\"", hostd_protocol::hex(&hash.as_bytes()[..16]));
    let mut response = body.into_response();
    if let Ok(tag) = HeaderValue::try_from(tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}
