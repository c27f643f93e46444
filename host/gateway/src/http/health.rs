//! Whether the node lives, and whether it serves.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;

use super::parse::pairs;
use crate::gateway::Shared;
use crate::{Check, Service};

/// `GET /livez`: a node that meets a fault ends its process, so whoever answers lives.
pub(super) async fn live() -> &'static str {
    "ok\n"
}

/// `GET /readyz[?verbose]`: whether this node can serve, in the form that etcd and Kubernetes have.
pub(super) async fn ready<S: Service>(
    State(shared): State<Arc<Shared<S>>>,
    request: Request,
) -> Response {
    let verbose = pairs(request.uri().query()).any(|(name, _)| name == b"verbose");
    let mut checks = shared.service.checks();
    checks.push(Check {
        name: "stopping",
        problem: shared
            .stop
            .borrow()
            .then(|| "the node is stopping".to_owned()),
    });
    let ready = checks.iter().all(|check| check.problem.is_none());
    if ready && !verbose {
        return "ok\n".into_response();
    }
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, told(&checks, ready)).into_response()
}

fn told(checks: &[Check], ready: bool) -> String {
    let mut text = String::new();
    for Check { name, problem } in checks {
        let line = match problem {
            None => writeln!(text, "[+]{name} ok"),
            Some(problem) => writeln!(text, "[-]{name} failed: {problem}"),
        };
        line.expect("a string takes everything");
    }
    let whole = if ready { "passed" } else { "failed" };
    writeln!(text, "readyz check {whole}").expect("a string takes everything");
    text
}
