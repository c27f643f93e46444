//! `/keys/{key}`: the values of the kv plugin, in YzmaDB's JSON.
//!
//! A key is whatever stands behind `/keys/`, percent-decoded and otherwise as it is: slashes, dots
//! and `..` are bytes like others, and nothing of it is ever a path.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hostd_protocol::{Call, Once, Reply, Request as Asked, Response as Answer};
use hyper::StatusCode;
use hyper::header::CONTENT_TYPE;
use serde_json::{Value, json};

use super::admit::Slot;
use super::calls::once;
use super::parse::{self, CallQuery};
use super::refused::Refused;
use super::{answer, body};
use crate::gateway::Shared;
use crate::{Caller, Service};

/// The plugin that has the keys.
const PLUGIN: &str = "kv";

/// What a value is of which nobody has said it (RFC 9110, section 8.3).
const UNKNOWN_MEDIA: &str = "application/octet-stream";

/// A refusal in YzmaDB's form. Headers and status are as everywhere.
pub(super) struct YzmaRefused(Refused);

impl<T: Into<Refused>> From<T> for YzmaRefused {
    fn from(refused: T) -> Self {
        Self(refused.into())
    }
}

impl IntoResponse for YzmaRefused {
    fn into_response(self) -> Response {
        let error = format!("{}: {}", self.0.code, self.0.message);
        let document = json!({ "Status": "error", "Error": error, "Data": null });
        let (mut parts, _) = self.0.into_response().into_parts();
        let (body_parts, body) = Json(document).into_response().into_parts();
        parts.headers.extend(body_parts.headers);
        Response::from_parts(parts, body)
    }
}

type Answered = Result<Response, YzmaRefused>;

/// GET: the value with its media type.
pub(super) async fn get<S: Service>(
    State(shared): State<Arc<Shared<S>>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Answered {
    let call = call(&request, "getmedia", None)?;
    match shared.service.handle(&caller, Asked::Read(call)).await? {
        Answer::Read { reply, revision } => match reply {
            Reply::Nil => Err(missing()),
            reply => Ok(answer::read(&ok(&shown(reply)?), revision)),
        },
        _ => Err(Refused::misunderstood().into()),
    }
}

/// POST and PUT: sets the value; its media type is the body's.
pub(super) async fn set<S: Service>(
    State(shared): State<Arc<Shared<S>>>,
    Extension(caller): Extension<Caller>,
    Extension(slot): Extension<Slot>,
    request: Request,
) -> Answered {
    let mut call = call(&request, "setmedia", once(request.headers())?)?;
    let media = request.headers().get(CONTENT_TYPE);
    let media = media.map_or(&b""[..], |media| media.as_bytes()).to_vec();
    let value = body::read(request.into_body(), &shared.limits, &slot).await?;
    call.arguments.push(media.into());
    call.arguments.push(value.to_vec().into());
    match shared.service.handle(&caller, Asked::Call(call)).await? {
        Answer::Reply(_) => Ok(Json(ok(&Value::Null)).into_response()),
        _ => Err(Refused::misunderstood().into()),
    }
}

/// DELETE: removes the key.
pub(super) async fn delete<S: Service>(
    State(shared): State<Arc<Shared<S>>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Answered {
    let call = call(&request, "del", once(request.headers())?)?;
    match shared.service.handle(&caller, Asked::Call(call)).await? {
        Answer::Reply(Reply::Integer(0)) => Err(missing()),
        Answer::Reply(_) => Ok(Json(ok(&Value::Null)).into_response()),
        _ => Err(Refused::misunderstood().into()),
    }
}

/// A call of the plugin with the request's key as its first argument.
fn call(request: &Request, command: &str, once: Option<Once>) -> Result<Call, Refused> {
    let key = request
        .uri()
        .path()
        .strip_prefix("/keys/")
        .unwrap_or_default();
    let query = CallQuery::parse(request.uri().query())?;
    if !query.arguments.is_empty() {
        return Err(Refused::invalid("a key takes no arguments"));
    }
    Ok(Call {
        plugin: Some(PLUGIN.to_owned()),
        command: command.to_owned(),
        arguments: vec![parse::path_decoded(key).into()],
        consistency: query.consistency,
        once,
        timeout_ms: query.timeout_ms,
    })
}

fn ok(data: &Value) -> Value {
    json!({ "Status": "ok", "Error": "", "Data": data })
}

fn missing() -> YzmaRefused {
    Refused::new(StatusCode::NOT_FOUND, "not_found", "there is no such key").into()
}

/// What the plugin says of a value: its media type, and its bytes.
fn shown(reply: Reply) -> Result<Value, Refused> {
    let Reply::Array(parts) = reply else {
        return Err(Refused::misunderstood());
    };
    let [media, Reply::Bytes(value)] = parts.as_slice() else {
        return Err(Refused::misunderstood());
    };
    let media = match media {
        Reply::Bytes(media) => String::from_utf8_lossy(media),
        _ => UNKNOWN_MEDIA.into(),
    };
    Ok(json!({ "Data": STANDARD.encode(value), "Type": media }))
}
