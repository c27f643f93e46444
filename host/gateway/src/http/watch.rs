//! `/v1/watch/{plugin}`: changes as server-sent events (HTML Standard, section 9.2).
//!
//! One event holds all that one command changed, and its id is that revision: a client that comes back
//! with `Last-Event-ID` goes on behind it. Ids between events say how far all was told.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::unfold;
use futures_util::{Stream, StreamExt};
use hostd_protocol::json::{of_change, of_present};
use hostd_protocol::{CallError, Revision, Start, Subject, Watch, WatchItem};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::sleep;

use super::admit::Endless;
use super::parse;
use super::refused::Refused;
use crate::gateway::Shared;
use crate::limits::{Load, WatchSlot};
use crate::room::{Part, size_bytes};
use crate::{Caller, Service};

/// What a client that comes back has seen last.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Asks proxies to pass on what comes as it comes.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// What never is silent for longer is not taken for dead.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How often an idle watcher is told how far all is told: proxies close what is silent for a minute.
const PROGRESS_MS: u32 = 15_000;

/// GET: the changes of a plugin's keys, or what it publishes.
pub(super) async fn watch<S: Service>(
    State(shared): State<Arc<Shared<S>>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Refused> {
    let watch = watch_of(&request)?;
    let slot = shared.load.admit_watch(&shared.limits);
    let slot = slot.ok_or_else(Refused::overloaded)?;
    let present = watch.start == Start::Present;
    let events = Events {
        watching: shared.service.watch(&caller, watch).await?,
        stop: shared.stop.clone(),
        load: shared.load.clone(),
        present,
        part: None,
        over: false,
        _slot: slot,
    };
    let events = unfold(events, async |mut events| {
        let told = events.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(told)), events))
    });
    let mut response = Body::from_stream(events).into_response();
    response.extensions_mut().insert(Endless);
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream; charset=utf-8"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    Ok(response)
}

/// What a watcher is told, as text.
struct Events<W> {
    watching: W,
    stop: watch::Receiver<bool>,
    load: Arc<Load>,
    /// It begins with the keys as they are.
    present: bool,
    /// For what was told last, until that is taken.
    part: Part,
    over: bool,
    _slot: WatchSlot,
}

impl<W: Stream<Item = Result<WatchItem, CallError>> + Unpin> Events<W> {
    async fn next(&mut self) -> Option<String> {
        // Asked for more only when that was taken.
        self.part = None;
        if self.over {
            return None;
        }
        let item = tokio::select! {
            item = self.watching.next() => item?,
            // The sender lives as long as the gateway.
            _ = self.stop.wait_for(|stop| *stop) => return None,
            // Whoever is gone is found out, and proxies keep what is not silent.
            () = sleep(HEARTBEAT) => return Some(": alive\n\n".to_owned()),
        };
        // JSON takes more than the bytes it says.
        let bytes = item.as_ref().map_or(0, |item| 2 * size_bytes(item));
        self.part = self.load.room.take(bytes).await;
        self.over = item.is_err();
        if let Ok(WatchItem::Begin(from)) = &item
            && self.present
        {
            // Without an id: who comes back before all present keys were told begins anew.
            return Some(format!(": watching from {from}\n\n"));
        }
        Some(event(item))
    }
}

/// What path, query and headers say.
fn watch_of(request: &Request) -> Result<Watch, Refused> {
    let path = request.uri().path();
    let plugin = path.strip_prefix("/v1/watch/").unwrap_or_default();
    let mut watch = Watch::keys("").of(parse::name(plugin)?);
    watch.progress_ms = PROGRESS_MS;
    let revision = |text: &[u8]| {
        str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse::<Revision>().ok())
            .ok_or_else(|| Refused::invalid("a revision is a log index, or INDEX-POSITION"))
    };
    for (name, value) in parse::pairs(request.uri().query()) {
        match name.as_slice() {
            b"prefix" => watch.subject = Subject::Keys(value.into()),
            b"topics" => {
                let prefix = String::from_utf8(value);
                watch.subject =
                    Subject::Topics(prefix.map_err(|_| Refused::invalid("a topic is UTF-8"))?);
            }
            b"from" => watch.start = Start::From(revision(&value)?),
            b"present" => watch.start = Start::Present,
            other => {
                return Err(Refused::invalid(format!(
                    "'{}' is no parameter of a watch; there are prefix, topics, from and present",
                    other.escape_ascii()
                )));
            }
        }
    }
    // Who comes back goes on where it was, whatever its address says.
    if let Some(last) = request.headers().get(LAST_EVENT_ID) {
        watch.start = Start::From(revision(last.as_bytes())?.next());
    }
    Ok(watch)
}

/// An item as an event, or as a comment where nothing happened.
fn event(item: Result<WatchItem, CallError>) -> String {
    match item {
        Ok(WatchItem::Begin(from)) => comment("watching", from),
        Ok(WatchItem::Progress(from)) => comment("progress", from),
        Ok(WatchItem::Present(keys)) => {
            let keys: Vec<_> = keys.iter().map(of_present).collect();
            block("present", None, &json!({ "keys": keys }))
        }
        Ok(WatchItem::Synced(from)) => {
            let data = json!({ "revision": from.to_string() });
            block("synced", Some(from.previous()), &data)
        }
        Ok(WatchItem::Changed(changed)) => {
            let revision = changed.revision;
            let changes = changed.changes.iter();
            let changes: Vec<_> = changes.map(|change| of_change(revision, change)).collect();
            let data = json!({ "revision": revision.to_string(), "changes": changes });
            block("changed", Some(revision), &data)
        }
        Err(error) => {
            let data = json!({ "code": error.code(), "message": error.message() });
            block("error", None, &data)
        }
    }
}

/// JSON has no line breaks, which would end the data.
fn block(kind: &str, id: Option<Revision>, data: &serde_json::Value) -> String {
    let mut text = format!("event: {kind}\n");
    if let Some(id) = id {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "id: {id}");
    }
    let _ = write!(text, "data: {data}\n\n");
    text
}

/// No event; the id is taken up all the same.
fn comment(what: &str, from: Revision) -> String {
    format!(": {what} from {from}\nid: {}\n\n", from.previous())
}

#[cfg(test)]
mod tests {
    use hostd_protocol::{Change, ChangeEvent, Changed, Failure, FailureCode};

    use super::*;

    fn asked(path: &str, last: Option<&str>) -> Result<Watch, Refused> {
        let mut request = Request::builder().uri(path);
        if let Some(last) = last {
            request = request.header(LAST_EVENT_ID, last);
        }
        watch_of(&request.body(Body::empty()).unwrap())
    }

    #[test]
    fn what_is_watched_stands_in_the_address() {
        let watch = asked("/v1/watch/kv?prefix=user%3A&from=12-3", None).unwrap();
        assert_eq!(watch.plugin.as_deref(), Some("kv"));
        assert_eq!(watch.subject, Subject::Keys(b"user:".to_vec().into()));
        let revision = "12-3".parse().unwrap();
        assert_eq!(watch.start, Start::From(revision));
        let again = asked("/v1/watch/kv?from=1", Some("12-3")).unwrap();
        assert_eq!(again.start, Start::From(revision.next()));
        assert_eq!(asked("/v1/watch/kv", None).unwrap().start, Start::Now);
        let topics = asked("/v1/watch/kv?topics=news.", None).unwrap();
        assert_eq!(topics.subject, Subject::Topics("news.".into()));
        for path in ["?from=x", "?prefx=a", "?topics=%ff"] {
            let refused = asked(&format!("/v1/watch/kv{path}"), None).unwrap_err();
            assert_eq!(refused.status, 400, "{path}");
        }
        assert_eq!(asked("/v1/watch/kv", Some("?")).unwrap_err().status, 400);
    }

    #[test]
    fn a_command_is_one_event_and_its_id_is_where_to_go_on() {
        let change = |key: &[u8]| Change {
            plugin: "kv".into(),
            event: ChangeEvent::Delete {
                key: key.into(),
                expired: false,
            },
        };
        let revision = Revision::start_of(7);
        let changed = Changed {
            revision,
            changes: vec![change(b"a"), change(b"b\n")],
        };
        let text = event(Ok(WatchItem::Changed(changed)));
        assert_eq!(
            text,
            "event: changed\nid: 7-0\ndata: {\"changes\":[\
             {\"key\":\"a\",\"plugin\":\"kv\",\"revision\":\"7-0\",\"type\":\"delete\"},\
             {\"key\":\"b\\n\",\"plugin\":\"kv\",\"revision\":\"7-0\",\"type\":\"delete\"}],\
             \"revision\":\"7-0\"}\n\n"
        );
        let text = event(Ok(WatchItem::Progress(Revision::start_of(8))));
        let id = text.lines().find_map(|line| line.strip_prefix("id: "));
        let next = id.unwrap().parse::<Revision>().unwrap().next();
        assert_eq!(next, Revision::start_of(8));
        let error = Failure::new(FailureCode::Compacted(revision), "gone");
        assert!(event(Err(error.into())).contains("\"code\":\"compacted\""));
    }
}
