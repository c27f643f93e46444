//! `/v1/call/{plugin}/{command}`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Response};
use hostd_protocol::json::of_reply;
use hostd_protocol::{
    Access, Call, ONCE_KEY_BYTES_MAX, Once, Request as Asked, Response as Answer,
};
use hyper::StatusCode;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use super::admit::Slot;
use super::parse::{self, CallQuery};
use super::refused::Refused;
use super::router::other_method;
use super::{answer, body};
use crate::gateway::Shared;
use crate::{Caller, Service};

/// By which a retry is recognised (draft-ietf-httpapi-idempotency-key-header).
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// GET: a command that only reads.
pub(super) async fn read<S: Service>(
    State(shared): State<Arc<Shared<S>>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Refused> {
    let call = call_of(&request)?;
    match shared.service.handle(&caller, Asked::Read(call)).await? {
        Answer::Read { reply, revision } => Ok(answer::read(&of_reply(&reply), revision)),
        Answer::Writes => Ok(writes()),
        _ => Err(Refused::misunderstood()),
    }
}

/// POST: any command.
pub(super) async fn call<S: Service>(
    State(shared): State<Arc<Shared<S>>>,
    Extension(caller): Extension<Caller>,
    Extension(slot): Extension<Slot>,
    request: Request,
) -> Result<Response, Refused> {
    let mut call = call_of(&request)?;
    call.once = once(request.headers())?;
    let kind = BodyKind::of(request.headers());
    let body = body::read(request.into_body(), &shared.limits, &slot).await?;
    match kind {
        _ if body.is_empty() => {}
        BodyKind::Arguments => call.arguments.append(&mut parse::arguments(&body)?),
        BodyKind::Bytes => call.arguments.push(body.to_vec().into()),
        BodyKind::Form => {
            return Err(Refused::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "invalid_argument",
                "say what the body is: Content-Type: application/json for a JSON array of arguments, \
                 application/octet-stream for the last argument's bytes",
            ));
        }
    }
    match shared.service.handle(&caller, Asked::Call(call)).await? {
        Answer::Reply(reply) => Ok(Json(of_reply(&reply)).into_response()),
        _ => Err(Refused::misunderstood()),
    }
}

/// Any other method: which ones there are depends on the command.
pub(super) async fn other<S: Service>(
    State(shared): State<Arc<Shared<S>>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Refused> {
    let (plugin, command) = target(&request)?;
    let answer = shared.service.handle(&caller, Asked::Commands).await?;
    let Answer::Commands(plugins) = answer else {
        return Err(Refused::misunderstood());
    };
    let reads = plugins
        .iter()
        .filter(|known| known.name.eq_ignore_ascii_case(&plugin))
        .flat_map(|known| &known.commands)
        .any(|known| known.name.eq_ignore_ascii_case(&command) && known.access == Access::Read);
    let methods = if reads { "GET,HEAD,POST" } else { "POST" };
    let mut response = other_method(request.method().clone()).await;
    let headers = response.headers_mut();
    headers.insert(ALLOW, HeaderValue::from_static(methods));
    Ok(response)
}

/// What path and query say.
fn call_of(request: &Request) -> Result<Call, Refused> {
    let (plugin, command) = target(request)?;
    let CallQuery {
        arguments,
        consistency,
        timeout_ms,
    } = CallQuery::parse(request.uri().query())?;
    Ok(Call {
        plugin: Some(plugin),
        command,
        arguments,
        consistency,
        once: None,
        timeout_ms,
    })
}

/// The plugin and the command that the path names.
fn target(request: &Request) -> Result<(String, String), Refused> {
    let path = request.uri().path();
    let target = path.strip_prefix("/v1/call/").unwrap_or_default();
    let (plugin, command) = target.split_once('/').unwrap_or_default();
    Ok((parse::name(plugin)?, parse::name(command)?))
}

pub(super) fn once(headers: &HeaderMap) -> Result<Option<Once>, Refused> {
    let mut keys = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(key) = keys.next() else {
        return Ok(None);
    };
    match key.to_str() {
        Ok(key) if keys.next().is_none() && (1..=ONCE_KEY_BYTES_MAX).contains(&key.len()) => {
            Ok(Some(Once::Key(key.to_owned())))
        }
        _ => Err(Refused::invalid(format!(
            "Idempotency-Key is one key of 1 to {ONCE_KEY_BYTES_MAX} visible characters"
        ))),
    }
}

/// What a body means.
enum BodyKind {
    /// A JSON array.
    Arguments,
    /// The last argument.
    Bytes,
    /// What `curl -d` says when nobody tells it better: it may be either.
    Form,
}

impl BodyKind {
    fn of(headers: &HeaderMap) -> Self {
        let kind = headers
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok());
        let essence = kind
            .and_then(|kind| kind.split(';').next())
            .unwrap_or_default();
        match essence.trim().to_ascii_lowercase().as_str() {
            "application/json" => Self::Arguments,
            "application/x-www-form-urlencoded" => Self::Form,
            _ => Self::Bytes,
        }
    }
}

fn writes() -> Response {
    let refused = Refused::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "invalid_argument",
        "the command writes: call it with POST",
    );
    let mut response = refused.into_response();
    let headers = response.headers_mut();
    headers.insert(ALLOW, HeaderValue::from_static("POST"));
    response
}
