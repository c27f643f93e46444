//! The types of `wit/types.wit` as wasmtime lifts them, and their translation into
//! [`hostd_protocol`]'s words.

use hostd_protocol as protocol;
use wasmtime::component::{ComponentType, Lift};

use crate::watched::{Part, Tail};

#[derive(ComponentType, Lift)]
#[component(variant)]
pub(crate) enum Token {
    #[component(name = "nil")]
    Nil,
    #[component(name = "ok")]
    Ok,
    #[component(name = "integer")]
    Integer(i64),
    #[component(name = "double")]
    Double(f64),
    #[component(name = "text")]
    Text(String),
    #[component(name = "bytes")]
    Bytes(Vec<u8>),
    #[component(name = "array")]
    Array(u32),
    #[component(name = "map")]
    Map(u32),
}

#[derive(ComponentType, Lift)]
#[component(variant)]
pub(crate) enum Refused {
    #[component(name = "not-found")]
    NotFound(String),
    #[component(name = "invalid-argument")]
    InvalidArgument(String),
    #[component(name = "wrong-arity")]
    WrongArity(String),
    #[component(name = "rejected")]
    Rejected(Refusal),
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct Refusal {
    code: String,
    message: String,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct Description {
    name: String,
    version: String,
    summary: String,
    #[component(name = "state-version")]
    state_version: u32,
    #[component(name = "reads-state-versions")]
    reads_state_versions: Vec<u32>,
    #[component(name = "migrates-state-versions")]
    migrates_state_versions: Vec<u32>,
    #[component(name = "migrates-by-key")]
    migrates_by_key: bool,
    commands: Vec<Command>,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct WatchedPart {
    prefix: Vec<u8>,
    shown: Vec<u8>,
    escaped: bool,
    tails: Vec<WatchedTail>,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct WatchedTail {
    last: u8,
    bytes: u32,
    counted: bool,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct Command {
    name: String,
    access: Access,
    arguments: Vec<Argument>,
    summary: String,
    details: String,
    examples: Vec<String>,
}

#[derive(Clone, Copy, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "lifting makes them from their numbers")]
pub(crate) enum Access {
    #[component(name = "read")]
    Read,
    #[component(name = "write")]
    Write,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct Argument {
    name: String,
    kind: ArgumentKind,
    value: ArgumentType,
    #[component(name = "is-key")]
    is_key: bool,
    secret: bool,
}

#[derive(ComponentType, Lift)]
#[component(variant)]
pub(crate) enum ArgumentKind {
    #[component(name = "required")]
    Required,
    #[component(name = "optional")]
    Optional,
    #[component(name = "repeated")]
    Repeated,
    #[component(name = "keyword")]
    Keyword(String),
    #[component(name = "flag")]
    Flag(String),
}

#[derive(Clone, Copy, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "lifting makes them from their numbers")]
pub(crate) enum ArgumentType {
    #[component(name = "integer")]
    Integer,
    #[component(name = "double")]
    Double,
    #[component(name = "text")]
    Text,
    #[component(name = "bytes")]
    Bytes,
}

impl From<WatchedTail> for Tail {
    fn from(tail: WatchedTail) -> Self {
        Self {
            last: tail.last,
            bytes: tail.bytes,
            counted: tail.counted,
        }
    }
}

impl From<WatchedPart> for Part {
    fn from(part: WatchedPart) -> Self {
        Self {
            prefix: part.prefix,
            shown: part.shown,
            escaped: part.escaped,
            tails: part.tails.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<Refused> for protocol::Rejection {
    fn from(refused: Refused) -> Self {
        use protocol::RejectionCode;
        let (code, mut message) = match refused {
            Refused::NotFound(message) => (RejectionCode::NotFound, message),
            Refused::InvalidArgument(message) => (RejectionCode::InvalidArgument, message),
            Refused::WrongArity(message) => (RejectionCode::WrongArity, message),
            Refused::Rejected(Refusal { mut code, message }) => {
                shorten(&mut code, CODE_BYTES_MAX);
                (RejectionCode::Rejected(code), message)
            }
        };
        shorten(&mut message, MESSAGE_BYTES_MAX);
        Self { code, message }
    }
}

/// What is kept of a plugin's own code and message: one word and one line.
const CODE_BYTES_MAX: usize = 64;
const MESSAGE_BYTES_MAX: usize = 1 << 10;

fn shorten(text: &mut String, bytes_max: usize) {
    text.truncate(text.floor_char_boundary(bytes_max));
    text.shrink_to_fit();
}

impl From<Description> for protocol::PluginDescription {
    fn from(description: Description) -> Self {
        Self {
            name: description.name,
            version: description.version,
            summary: description.summary,
            state_version: description.state_version,
            reads_state_versions: description.reads_state_versions,
            migrates_state_versions: description.migrates_state_versions,
            migrates_by_key: description.migrates_by_key,
            commands: description.commands.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<Command> for protocol::CommandDescription {
    fn from(command: Command) -> Self {
        Self {
            name: command.name,
            access: match command.access {
                Access::Read => protocol::Access::Read,
                Access::Write => protocol::Access::Write,
            },
            arguments: command.arguments.into_iter().map(Into::into).collect(),
            summary: command.summary,
            details: command.details,
            examples: command.examples,
        }
    }
}

impl From<Argument> for protocol::Argument {
    fn from(argument: Argument) -> Self {
        Self {
            name: argument.name,
            kind: match argument.kind {
                ArgumentKind::Required => protocol::ArgumentKind::Required,
                ArgumentKind::Optional => protocol::ArgumentKind::Optional,
                ArgumentKind::Repeated => protocol::ArgumentKind::Repeated,
                ArgumentKind::Keyword(keyword) => protocol::ArgumentKind::Keyword(keyword),
                ArgumentKind::Flag(keyword) => protocol::ArgumentKind::Flag(keyword),
            },
            value: match argument.value {
                ArgumentType::Integer => protocol::ArgumentType::Integer,
                ArgumentType::Double => protocol::ArgumentType::Double,
                ArgumentType::Text => protocol::ArgumentType::Text,
                ArgumentType::Bytes => protocol::ArgumentType::Bytes,
            },
            is_key: argument.is_key,
            secret: argument.secret,
        }
    }
}
