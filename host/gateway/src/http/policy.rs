//! The cluster's access rules.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Response};
use hostd_protocol::{PolicyChange, Reply, Request as Asked, Response as Answer, Rule};
use serde::Deserialize;
use serde_json::json;

use super::admit::Slot;
use super::answer;
use super::body;
use super::refused::Refused;
use crate::gateway::Shared;
use crate::{Caller, Service};

/// How long a change may take, in milliseconds.
const TIMEOUT_MS: u32 = 10_000;

/// Rules, each a line as `hostctl policy show` has it.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Change {
    /// They are added.
    Allow(Vec<String>),
    /// They are taken away.
    Revoke(Vec<String>),
}

/// `GET /v1/policy`: the rules, a line each.
pub(super) async fn show<S: Service>(
    State(shared): State<Arc<Shared<S>>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Refused> {
    match shared.service.handle(&caller, Asked::Policy).await? {
        Answer::Policy(policy) => {
            let lines: Vec<String> = policy.lines().map(|rule| rule.to_string()).collect();
            Ok(answer::document(&json!({ "rules": lines })))
        }
        _ => Err(Refused::misunderstood()),
    }
}

/// `POST /v1/policy`: adds rules, or takes them away, all of them or none.
pub(super) async fn change<S: Service>(
    State(shared): State<Arc<Shared<S>>>,
    Extension(caller): Extension<Caller>,
    Extension(slot): Extension<Slot>,
    request: Request,
) -> Result<Response, Refused> {
    let body = body::read(request.into_body(), &shared.limits, &slot).await?;
    let change = match serde_json::from_slice(&body) {
        Ok(Change::Allow(lines)) => PolicyChange::Allow(rules(&lines)?),
        Ok(Change::Revoke(lines)) => PolicyChange::Revoke(rules(&lines)?),
        Err(error) => {
            return Err(Refused::invalid(format!(
                "the body is {{\"allow\": [\"IDENTITY read PATH\", …]}} or {{\"revoke\": […]}}: {error}"
            )));
        }
    };
    let asked = Asked::ChangePolicy {
        change,
        timeout_ms: TIMEOUT_MS,
    };
    match shared.service.handle(&caller, asked).await? {
        Answer::Reply(Reply::Array(lines)) => {
            let lines = lines.iter().filter_map(|line| match line {
                Reply::Text(line) => Some(line),
                _ => None,
            });
            Ok(Json(json!({ "changed": lines.collect::<Vec<_>>() })).into_response())
        }
        _ => Err(Refused::misunderstood()),
    }
}

fn rules(lines: &[String]) -> Result<Vec<Rule>, Refused> {
    lines
        .iter()
        .map(|line| {
            line.parse::<Rule>()
                .map_err(|error| Refused::invalid(format!("{line:?}: {error}")))
        })
        .collect()
}
