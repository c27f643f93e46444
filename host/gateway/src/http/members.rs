//! YzmaDB's routes to come to a cluster and to leave it.
//!
//! A node of hostd comes to its cluster when it is started (`--join`), and belongs to it from then on:
//! two clusters with entries of their own cannot become one. So joining says whether that has
//! happened, rather than that it will.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Response};
use hostd_protocol::{MemberChange, Request as Asked, Response as Answer};
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::admit::Slot;
use super::body;
use super::keys::YzmaRefused;
use super::refused::Refused;
use crate::gateway::Shared;
use crate::{Caller, Service};

/// How long peers that are about to join are waited for, and how often that is looked at.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(100);

/// Peers that one request may name.
const PEERS_MAX: usize = 64;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Join {
    /// Addresses, `host:port`.
    peers: Vec<String>,
}

/// `POST /cluster/join`: waits until all peers are members.
pub(super) async fn join<S: Service>(
    State(shared): State<Arc<Shared<S>>>,
    Extension(caller): Extension<Caller>,
    Extension(slot): Extension<Slot>,
    request: Request,
) -> Result<Response, YzmaRefused> {
    let body = body::read(request.into_body(), &shared.limits, &slot).await?;
    let Join { peers } = serde_json::from_slice(&body).map_err(|error| {
        Refused::invalid(format!(
            "the body is {{\"Peers\": [\"host:port\", …]}}: {error}"
        ))
    })?;
    if peers.is_empty() || peers.len() > PEERS_MAX {
        return Err(Refused::invalid(format!("there are 1 to {PEERS_MAX} peers")).into());
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let Answer::Members(members) = shared.service.handle(&caller, Asked::Members).await? else {
            return Err(Refused::misunderstood().into());
        };
        let missing = peers
            .iter()
            .find(|peer| members.iter().all(|member| member.address != **peer));
        let Some(missing) = missing else {
            let members = members.iter().map(|member| &member.address);
            let data = json!({ "Members": members.collect::<Vec<_>>() });
            return Ok(done(&data));
        };
        if Instant::now() + LOOK >= deadline || *shared.stop.borrow() {
            let message = format!(
                "{missing} is no member of this node's cluster; start that node on an empty directory \
                 with --join and the address of a member"
            );
            return Err(Refused::new(StatusCode::CONFLICT, "not_a_member", message).into());
        }
        sleep(LOOK).await;
    }
}

/// `POST /cluster/leave`: removes this node from its cluster for good.
pub(super) async fn leave<S: Service>(
    State(shared): State<Arc<Shared<S>>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, YzmaRefused> {
    let own = Asked::Status { all: false };
    let own = match shared.service.handle(&caller, own).await? {
        Answer::Status(rows) => rows.first().map(|row| row.id),
        _ => None,
    };
    let own = own.ok_or_else(Refused::misunderstood)?;
    let remove = Asked::Member(MemberChange::Remove(own));
    match shared.service.handle(&caller, remove).await? {
        Answer::Done => Ok(done(&json!({ "Left": own }))),
        _ => Err(Refused::misunderstood().into()),
    }
}

fn done(data: &serde_json::Value) -> Response {
    Json(json!({ "Status": "ok", "Error": "", "Data": data })).into_response()
}
