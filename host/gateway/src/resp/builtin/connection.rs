//! The connection itself: PING, CLIENT, SELECT, MONITOR, RESET.

use super::{Asking, help, subcommand, unknown_subcommand};
use crate::Service;
use crate::resp::encode::{Value, Version};
use crate::resp::failure::{Asked, line, no_authentication};
use crate::resp::mailbox::Mailbox;

/// Bytes of a name or of what a library says of itself.
const NAME_BYTES_MAX: usize = 256;

const HELP: &[&str] = &[
    "CLIENT GETNAME: the name of this connection",
    "CLIENT HELP: this text",
    "CLIENT ID: the number of this connection",
    "CLIENT INFO: what is known of this connection",
    "CLIENT LIST: the same; a connection does not see others",
    "CLIENT SETINFO LIB-NAME|LIB-VER value: what the client's library is",
    "CLIENT SETNAME name: names this connection",
];

pub(super) fn ping<S: Service>(asking: &Asking<'_, '_, S>, arguments: &[Vec<u8>]) -> Value {
    match arguments {
        // As a message looks, since its client reads nothing else.
        [] | [_] if asking.session.is_confined() => {
            let message = arguments.first().cloned().unwrap_or_default();
            Value::Array(vec!["pong".into(), Value::Bulk(message)])
        }
        [] => Value::Simple("PONG"),
        [message] => Value::Bulk(message.clone()),
        _ => Value::error("wrong number of arguments for 'ping' command"),
    }
}

pub(super) fn select(arguments: &[Vec<u8>]) -> Value {
    let number = std::str::from_utf8(&arguments[0]).ok();
    match number.and_then(|number| number.parse::<i64>().ok()) {
        Some(0) => Value::OK,
        Some(_) => Value::error("DB index is out of range: there is only database 0"),
        None => Value::error("value is not an integer or out of range"),
    }
}

pub(super) fn monitor<S: Service>(asking: &mut Asking<'_, '_, S>) -> Value {
    let permitted = match &asking.session.caller {
        Some(caller) => asking.shared.service.may_monitor(caller),
        None => return Value::Error(no_authentication().into()),
    };
    if let Err(error) = permitted {
        let asked = Asked {
            command: None,
            writes: false,
        };
        return Value::Error(line(&error, asked));
    }
    if asking.session.mailbox.is_none() {
        let mailbox = Mailbox::default();
        asking.shared.resp.monitors.add(mailbox.sender());
        asking.session.mailbox = Some(mailbox);
    }
    Value::OK
}

pub(super) fn reset<S: Service>(asking: &mut Asking<'_, '_, S>) -> Value {
    asking.session.reset(asking.shared.service.unproved());
    Value::Simple("RESET")
}

pub(super) fn client<S: Service>(asking: &mut Asking<'_, '_, S>, arguments: &[Vec<u8>]) -> Value {
    let session = &mut *asking.session;
    let (wanted, arguments) = subcommand(arguments);
    match (wanted.as_str(), arguments) {
        ("id", []) => Value::Integer(session.id as i64),
        ("getname", []) if session.name.is_empty() => Value::Nil,
        ("getname", []) => Value::Bulk(session.name.clone()),
        ("setname", [name]) => match plain(name) {
            Ok(name) => {
                session.name = name;
                Value::OK
            }
            Err(refusal) => refusal,
        },
        ("setinfo", [what, value]) => {
            let place = match what.to_ascii_lowercase().as_slice() {
                b"lib-name" => 0,
                b"lib-ver" => 1,
                _ => return Value::error("Unrecognized option: LIB-NAME and LIB-VER are known"),
            };
            match plain(value) {
                Ok(value) => {
                    session.library[place] = value;
                    Value::OK
                }
                Err(refusal) => refusal,
            }
        }
        ("info", []) | ("list", _) => Value::from(describe(asking)),
        ("help", []) => help(HELP),
        (wanted, _) => unknown_subcommand("client", wanted),
    }
}

/// A word that can stand in a list of words.
fn plain(word: &[u8]) -> Result<Vec<u8>, Value> {
    if word.len() > NAME_BYTES_MAX {
        return Err(Value::error("too_large the limit of a name is 256 bytes"));
    }
    if word.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
        return Ok(word.to_vec());
    }
    let message = "Client names cannot contain spaces, newlines or special characters.";
    Err(Value::error(message))
}

fn describe<S: Service>(asking: &Asking<'_, '_, S>) -> String {
    let session = &*asking.session;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let user = session.caller.as_ref();
    format!(
        "id={} addr={} name={} db=0 flags={} user={} resp={} lib-name={} lib-ver={}\n",
        session.id,
        session.guest.from,
        text(&session.name),
        match (&session.mailbox, session.is_subscribed()) {
            (Some(_), _) => "O",
            (None, true) => "P",
            (None, false) => "N",
        },
        user.map_or("", |caller| &*caller.identity),
        if session.version == Version::Three {
            3
        } else {
            2
        },
        text(&session.library[0]),
        text(&session.library[1]),
    )
}
