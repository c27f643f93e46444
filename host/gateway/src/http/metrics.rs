//! `GET /metrics`.

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use hostd_protocol::{Request as Asked, Response as Answer};
use hyper::header::{CONTENT_TYPE, HeaderValue};

use super::refused::Refused;
use crate::gateway::Shared;
use crate::{Caller, Service};

const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

pub(super) async fn metrics<S: Service>(
    State(shared): State<Arc<Shared<S>>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Refused> {
    match shared.service.handle(&caller, Asked::Metrics).await? {
        Answer::Metrics(text) => {
            let mut response = text.into_response();
            response.headers_mut().insert(CONTENT_TYPE, OPEN_METRICS);
            Ok(response)
        }
        _ => Err(Refused::misunderstood()),
    }
}
