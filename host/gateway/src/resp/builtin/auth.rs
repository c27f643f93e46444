//! Who a client is, and how it wants to be spoken to: AUTH and HELLO.

use std::time::Duration;

use super::{Asking, Step};
use crate::Service;
use crate::resp::encode::{Value, Version};
use crate::resp::failure::no_authentication;

/// Between a wrong password and its answer, times the number of tries.
const WRONG_PAUSE: Duration = Duration::from_millis(100);

pub(super) fn auth<'a, S: Service>(
    asking: &mut Asking<'_, 'a, S>,
    arguments: &[Vec<u8>],
) -> Step<'a> {
    let proved = match arguments {
        [secret] => prove(asking, None, secret),
        [name, secret] => prove(asking, Some(name), secret),
        _ => return Step::Now(Value::error("syntax error")),
    };
    if proved {
        Step::Now(Value::OK)
    } else {
        wrong(asking)
    }
}

/// `HELLO [version [AUTH name secret] [SETNAME name]]`
pub(super) fn hello<'a, S: Service>(
    asking: &mut Asking<'_, 'a, S>,
    arguments: &[Vec<u8>],
) -> Step<'a> {
    let (version, mut rest) = match arguments.split_first() {
        None => (asking.session.version, arguments),
        Some((version, rest)) => match version.as_slice() {
            b"2" => (Version::Two, rest),
            b"3" => (Version::Three, rest),
            _ => {
                return Step::Now(Value::Error("NOPROTO unsupported protocol version".into()));
            }
        },
    };
    let mut name = None;
    while let Some((keyword, after)) = rest.split_first() {
        rest = match after {
            [user, secret, after @ ..] if keyword.eq_ignore_ascii_case(b"auth") => {
                if !prove(asking, Some(user), secret) {
                    return wrong(asking);
                }
                after
            }
            [given, after @ ..] if keyword.eq_ignore_ascii_case(b"setname") => {
                name = Some(given.clone());
                after
            }
            _ => return Step::Now(Value::error("syntax error in HELLO option")),
        };
    }
    if asking.session.caller.is_none() {
        return Step::Now(Value::Error(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO \
             <proto> AUTH <user> <pass> option can be used to authenticate the client and select the \
             RESP protocol version at the same time"
                .into(),
        ));
    }
    if let Some(name) = name {
        asking.session.name = name;
    }
    asking.session.version = version;
    let number = if version == Version::Three { 3 } else { 2 };
    let pairs = [
        ("server", Value::from("hostd")),
        ("version", Value::from(env!("CARGO_PKG_VERSION"))),
        ("proto", Value::Integer(number)),
        ("id", Value::Integer(asking.session.id as i64)),
        ("mode", Value::from("standalone")),
        // Every node takes writes: one that does not lead passes them on.
        ("role", Value::from("master")),
        ("modules", Value::Array(Vec::new())),
    ];
    let pairs = pairs.into_iter();
    Step::Now(Value::Map(
        pairs
            .map(|(key, value)| (Value::from(key), value))
            .collect(),
    ))
}

fn prove<S: Service>(
    asking: &mut Asking<'_, '_, S>,
    name: Option<&Vec<u8>>,
    secret: &[u8],
) -> bool {
    let text = |bytes| std::str::from_utf8(bytes).ok();
    let name = name.map(|name| text(name));
    let (Some(secret), false) = (text(secret), name == Some(None)) else {
        return false;
    };
    let from = asking.session.guest.from;
    let service = &asking.shared.service;
    let identity = service.prove(from, name.flatten(), secret);
    let proved = identity.is_some();
    if let Some(identity) = identity {
        asking.session.is(identity);
    }
    proved
}

/// Answers after a while: a connection that guesses has few tries, and each takes time.
fn wrong<'a, S: Service>(asking: &mut Asking<'_, 'a, S>) -> Step<'a> {
    asking.session.tries += 1;
    let pause = WRONG_PAUSE * asking.session.tries;
    let message = "WRONGPASS invalid username-password pair or user is disabled.";
    Step::Later(Box::pin(async move {
        tokio::time::sleep(pause).await;
        Value::Error(message.into())
    }))
}

/// What a command is answered that needs more than this client has proved.
pub(super) fn unproved<'a>() -> Step<'a> {
    Step::Now(Value::Error(no_authentication().into()))
}
