//! Which route is served by what.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper::{Method, StatusCode};

use super::admit::admit;
use super::identity::identify;
use super::refused::Refused;
use super::{calls, cluster, dashboard, health, keys, members, metrics, openapi, policy, watch};
use crate::Service;
use crate::gateway::Shared;

/// All routes, behind what every request goes through.
pub(super) fn router<S: Service>(shared: Arc<Shared<S>>) -> Router {
    Router::new()
        .route(
            "/v1/call/{plugin}/{command}",
            get(calls::read::<S>)
                .post(calls::call::<S>)
                .fallback(calls::other::<S>),
        )
        .route("/v1/commands", get(cluster::commands::<S>))
        .route("/v1/plugins", get(cluster::plugins::<S>))
        .route(
            "/v1/policy",
            get(policy::show::<S>).post(policy::change::<S>),
        )
        .route("/v1/status", get(cluster::status::<S>))
        .route(
            "/keys/{*key}",
            get(keys::get::<S>)
                .post(keys::set::<S>)
                .put(keys::set::<S>)
                .delete(keys::delete::<S>),
        )
        .route("/cluster/join", post(members::join::<S>))
        .route("/cluster/leave", post(members::leave::<S>))
        .route("/openapi.json", get(openapi::document::<S>))
        .route("/metrics", get(metrics::metrics::<S>))
        .route("/", get(dashboard::page))
        .route("/dashboard.css", get(dashboard::style))
        .route("/dashboard.js", get(dashboard::script))
        .route("/v1/watch/{plugin}", get(watch::watch::<S>))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready::<S>))
        .fallback(unknown)
        .method_not_allowed_fallback(other_method)
        .layer(from_fn_with_state(shared.clone(), identify::<S>))
        .layer(from_fn_with_state(shared.clone(), admit::<S>))
        .with_state(shared)
}

async fn unknown(request: Request) -> Response {
    // `OPTIONS *` asks of the server as a whole (RFC 9110, section 9.3.7).
    if request.method() == Method::OPTIONS && request.uri().path() == "*" {
        return StatusCode::NO_CONTENT.into_response();
    }
    Refused::new(
        StatusCode::NOT_FOUND,
        "not_found",
        "there is no such route; /openapi.json lists all",
    )
    .into_response()
}

/// The methods there are are told in the header `Allow`, which the router adds.
pub(super) async fn other_method(method: Method) -> Response {
    if method == Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    Refused::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "invalid_argument",
        "the route has other methods; the header Allow lists them",
    )
    .into_response()
}
