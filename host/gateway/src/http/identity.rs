//! Who asks, and whether a web page of somebody else's asks in their name.
//!
//! A browser sends what any page makes it send, with the certificate or password that its user once
//! gave, or from a machine whose loopback is trusted. Three things keep other people's pages out:
//!
//! - No answer allows another origin to read it (there are no CORS headers), so a page of another
//!   origin sees nothing of what it makes a browser ask.
//! - What may change anything is refused when it comes from another origin, which every browser tells
//!   with such requests (Fetch, section 3.2 "Origin header").
//! - Against DNS rebinding, where the page's own name is made to mean this node: a client that has
//!   proved nothing must have asked for an address, `localhost`, or the name that the node is told it
//!   has. An address cannot be rebound, and an attacker's name is none of them. A client that proves
//!   who it is may use any name, as the browser keeps secrets apart by name.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN};
use hyper::http::request::Parts;
use hyper::{Method, Version};
use tokio::time::sleep;

use super::connection::Connection;
use super::refused::Refused;
use crate::gateway::Shared;
use crate::tcp::Guest;
use crate::{Caller, Service};

/// Routes that need no identity: they tell whether the node serves, and nothing else.
const OPEN: [&str; 2] = ["/livez", "/readyz"];

/// How long whoever brings a wrong secret waits for the answer.
const WRONG_PAUSE: Duration = Duration::from_millis(100);

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Finds out who asks, and refuses who must not ask.
pub(super) async fn identify<S: Service>(
    State(shared): State<Arc<Shared<S>>>,
    request: Request,
    next: Next,
) -> Response {
    if OPEN.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    match identified(&shared.service, &parts) {
        Ok(caller) => {
            parts.extensions.insert(caller);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(refused) => {
            if parts.headers.contains_key(AUTHORIZATION) {
                // Guessing takes time.
                sleep(WRONG_PAUSE).await;
            }
            refused.into_response()
        }
    }
}

fn identified<S: Service>(service: &S, parts: &Parts) -> Result<Caller, Refused> {
    let Some(Connection { guest, .. }) = parts.extensions.get::<Connection>() else {
        return Err(Refused::misunderstood());
    };
    let host = host(parts)?;
    same_origin(&parts.method, &parts.headers, host)?;
    let identity = if let Some(identity) = proved(service, guest, &parts.headers)? {
        identity
    } else {
        let unproved = service.unproved().ok_or_else(|| {
            Refused::unauthenticated(
                "say who you are: a client certificate, Authorization: Bearer TOKEN, or Basic \
                 user:password",
            )
        })?;
        not_rebound(host, service.host_name())?;
        unproved
    };
    Ok(Caller {
        identity,
        from: guest.from,
    })
}

/// Who the client proves to be; `None` when it does not try.
fn proved<S: Service>(
    service: &S,
    guest: &Guest,
    headers: &HeaderMap,
) -> Result<Option<Arc<str>>, Refused> {
    if let Some(name) = &guest.certificate {
        return Ok(Some(name.clone()));
    }
    let Some(credentials) = headers.get(AUTHORIZATION) else {
        return Ok(None);
    };
    let secret = credentials.to_str().ok().and_then(Secret::parse);
    let Some(secret) = secret else {
        let message =
            "the Authorization header is neither Bearer TOKEN nor Basic base64(user:password)";
        return Err(Refused::unauthenticated(message));
    };
    let name = secret.name.as_deref();
    match service.prove(guest.from, name, &secret.secret) {
        Some(identity) => Ok(Some(identity)),
        None => Err(Refused::unauthenticated(
            "the password or token is nobody's; check it, and the name with it",
        )),
    }
}

/// What an `Authorization` header brings.
struct Secret {
    name: Option<String>,
    secret: String,
}

impl Secret {
    fn parse(credentials: &str) -> Option<Self> {
        let (scheme, rest) = credentials.split_once(' ')?;
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return Some(Self {
                name: None,
                secret: rest.to_owned(),
            });
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let pair = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
        let (name, secret) = pair.split_once(':')?;
        Some(Self {
            name: (!name.is_empty()).then(|| name.to_owned()),
            secret: secret.to_owned(),
        })
    }
}

/// The name that the client means this node by, with its port. Only HTTP/1.0 may say none.
fn host(parts: &Parts) -> Result<Option<&str>, Refused> {
    if let Some(authority) = parts.uri.authority() {
        return Ok(Some(authority.as_str()));
    }
    let mut hosts = parts.headers.get_all(HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    let first = match first {
        None if parts.version < Version::HTTP_11 => return Ok(None),
        first => first.and_then(|host| host.to_str().ok()),
    };
    match (first, second) {
        (Some(host), None) => Ok(Some(host)),
        _ => Err(Refused::invalid(
            "a request names one host, in the header Host",
        )),
    }
}

/// Refuses what may change something and comes from a page that is not this node's.
fn same_origin(method: &Method, headers: &HeaderMap, host: Option<&str>) -> Result<(), Refused> {
    if method.is_safe() {
        return Ok(());
    }
    let foreign = || {
        Err(Refused::forbidden(
            "the request comes from a web page of another origin; this node takes only reads from there",
        ))
    };
    if let Some(origin) = headers.get(ORIGIN) {
        let origin = origin.to_str().unwrap_or_default();
        let own = origin.split_once("://").map(|(_, authority)| authority);
        let same = match (own, host) {
            (Some(own), Some(host)) => own.eq_ignore_ascii_case(host),
            _ => false,
        };
        if !same {
            return foreign();
        }
    }
    match headers.get(SEC_FETCH_SITE).map(HeaderValue::as_bytes) {
        None | Some(b"same-origin" | b"none") => Ok(()),
        Some(_) => foreign(),
    }
}

/// Refuses names that anybody could have made to mean this node.
fn not_rebound(host: Option<&str>, own: Option<&str>) -> Result<(), Refused> {
    // Browsers always say a name.
    let Some(host) = host else { return Ok(()) };
    let name = without_port(host);
    let is_address = name.parse::<IpAddr>().is_ok()
        || name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'))
            .is_some_and(|name| name.parse::<Ipv6Addr>().is_ok());
    let known = is_address
        || name.eq_ignore_ascii_case("localhost")
        || own.is_some_and(|own| own.eq_ignore_ascii_case(name));
    if known {
        return Ok(());
    }
    Err(Refused::forbidden(
        "the host name is none that this node knows as its own; use its address, say --advertise \
         NAME:PORT when it is started, or prove who you are",
    ))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_taken_from_both_schemes() {
        let parse = |text: &str| Secret::parse(text).map(|found| (found.name, found.secret));
        let some =
            |name: Option<&str>, secret: &str| Some((name.map(str::to_owned), secret.into()));
        assert_eq!(parse("Bearer abc"), some(None, "abc"));
        assert_eq!(parse("bearer  abc "), some(None, "abc"));
        let basic = |pair: &str| parse(&format!("Basic {}", STANDARD.encode(pair)));
        assert_eq!(basic("ann:pass:word"), some(Some("ann"), "pass:word"));
        assert_eq!(basic(":word"), some(None, "word"));
        assert_eq!(basic("word"), None);
        assert_eq!(parse("Basic !!"), None);
        assert_eq!(parse("Digest x"), None);
        assert_eq!(parse("Bearer"), None);
    }

    #[test]
    fn pages_of_other_origins_change_nothing() {
        let asks = |method: Method, name: HeaderName, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_str(value).unwrap());
            same_origin(&method, &headers, Some("node:11001")).is_ok()
        };
        assert!(asks(Method::POST, ORIGIN, "http://node:11001"));
        assert!(asks(Method::POST, ORIGIN, "https://NODE:11001"));
        assert!(asks(Method::GET, ORIGIN, "http://evil"));
        for origin in ["http://evil", "http://node", "http://node:3000", "null", ""] {
            assert!(!asks(Method::POST, ORIGIN, origin), "{origin}");
            assert!(!asks(Method::DELETE, ORIGIN, origin), "{origin}");
        }
        assert!(!asks(Method::PUT, SEC_FETCH_SITE, "cross-site"));
        assert!(asks(Method::PUT, SEC_FETCH_SITE, "none"));
        assert!(same_origin(&Method::POST, &HeaderMap::new(), None).is_ok());
    }

    #[test]
    fn who_proves_nothing_must_use_a_name_that_nobody_can_rebind() {
        let asks = |host: &str| not_rebound(Some(host), Some("db.example")).is_ok();
        for host in [
            "127.0.0.1:11001",
            "127.0.0.1",
            "[::1]:11001",
            "[::1]",
            "localhost:1",
        ] {
            assert!(asks(host), "{host}");
        }
        assert!(asks("LOCALHOST") && asks("DB.example:11001"));
        for host in [
            "evil",
            "evil:11001",
            "localhost.evil:1",
            "db.example.evil",
            "[evil]",
            "",
        ] {
            assert!(!asks(host), "{host}");
        }
        assert!(not_rebound(None, None).is_ok());
        assert!(not_rebound(Some("db.example"), None).is_err());
    }
}
