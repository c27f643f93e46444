//! Commands that no plugin has: Redis's own about the connection, and those about the node and its
//! cluster. A file for each group.

mod auth;
mod cluster;
mod command;
mod connection;
mod info;
mod machine;
mod raft;
mod snapshot;
mod subscribe;

use std::sync::Arc;

pub(super) use self::raft::sent;
pub(super) use self::subscribe::out_of_context;
use hostd_protocol::{CallError, Request, Response};

use super::encode::Value;
use super::failure::{Asked, line};
use super::run::Later;
use super::session::Session;
use crate::gateway::Shared;
use crate::{Caller, Service};

/// How long what a built-in command asks of the node may take.
const TIMEOUT_MS: u32 = 10_000;

/// Bytes of the longest name.
const NAME_BYTES_MAX: usize = 12;

/// What a built-in command comes to.
pub(super) enum Step<'a> {
    Now(Value),
    Later(Later<'a, Value>),
}

/// What a built-in command can see and change.
pub(super) struct Asking<'s, 'a, S> {
    pub(super) shared: &'a Arc<Shared<S>>,
    pub(super) session: &'s mut Session,
}

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Builtin {
    Auth,
    Barrier,
    Client,
    Cluster,
    Command,
    Echo,
    Hello,
    Info,
    Machine,
    Monitor,
    PatternSubscribe,
    PatternUnsubscribe,
    Ping,
    Quit,
    Raft,
    ReadOnly,
    Reset,
    Select,
    Subscribe,
    Unsubscribe,
    Version,
}

/// What is said of a built-in command: its name, its arity as Redis counts it, and one line.
struct About {
    builtin: Builtin,
    name: &'static str,
    arity: i64,
    summary: &'static str,
}

const fn about(builtin: Builtin, name: &'static str, arity: i64, summary: &'static str) -> About {
    About {
        builtin,
        name,
        arity,
        summary,
    }
}

/// All of them, sorted by name.
const ALL: &[About] = &[
    about(Builtin::Auth, "auth", -2, "Proves who the client is."),
    about(
        Builtin::Barrier,
        "barrier",
        1,
        "Waits until an entry is through the log.",
    ),
    about(
        Builtin::Client,
        "client",
        -2,
        "Tells or sets something about the connection.",
    ),
    about(
        Builtin::Cluster,
        "cluster",
        -2,
        "Tells about the nodes as a Redis cluster does.",
    ),
    about(Builtin::Command, "command", -1, "Tells about commands."),
    about(Builtin::Echo, "echo", 2, "Returns its argument."),
    about(
        Builtin::Hello,
        "hello",
        -1,
        "Chooses the version of the protocol.",
    ),
    about(Builtin::Info, "info", -1, "Tells about the node."),
    about(
        Builtin::Machine,
        "machine",
        -1,
        "Tells the replicated clock.",
    ),
    about(
        Builtin::Monitor,
        "monitor",
        1,
        "Shows every command of this node.",
    ),
    about(Builtin::Ping, "ping", -1, "Returns PONG, or its argument."),
    about(
        Builtin::PatternSubscribe,
        "psubscribe",
        -2,
        "Has what is told on all channels that match patterns sent.",
    ),
    about(
        Builtin::PatternUnsubscribe,
        "punsubscribe",
        -1,
        "Ends subscriptions to patterns.",
    ),
    about(Builtin::Quit, "quit", -1, "Ends the connection."),
    about(
        Builtin::Raft,
        "raft",
        -2,
        "Tells about Raft, and changes the members.",
    ),
    about(
        Builtin::ReadOnly,
        "readonly",
        1,
        "Does nothing: every node answers reads.",
    ),
    about(
        Builtin::ReadOnly,
        "readwrite",
        1,
        "Does nothing: every node takes writes.",
    ),
    about(
        Builtin::Reset,
        "reset",
        1,
        "Makes the connection as it was at its beginning.",
    ),
    about(
        Builtin::Select,
        "select",
        2,
        "Chooses a database: there is only 0.",
    ),
    about(
        Builtin::Subscribe,
        "subscribe",
        -2,
        "Has what is told on channels sent: topics of plugins, changes of keys.",
    ),
    about(
        Builtin::Unsubscribe,
        "unsubscribe",
        -1,
        "Ends subscriptions to channels.",
    ),
    about(Builtin::Version, "version", -1, "Tells hostd's version."),
];

impl Builtin {
    /// The built-in command with this name, in any case.
    pub(super) fn named(name: &[u8]) -> Option<Self> {
        if name.len() > NAME_BYTES_MAX {
            return None;
        }
        let found = |about: &&About| name.eq_ignore_ascii_case(about.name.as_bytes());
        ALL.iter().find(found).map(|about| about.builtin)
    }

    /// Whether a client may call it that has not proved who it is.
    pub(super) fn is_for_everybody(self) -> bool {
        matches!(self, Self::Auth | Self::Hello | Self::Quit | Self::Reset)
    }

    /// Whether a client may call it whose answers could not be told from messages.
    pub(super) fn is_for_subscribers(self) -> bool {
        matches!(
            self,
            Self::PatternSubscribe
                | Self::PatternUnsubscribe
                | Self::Ping
                | Self::Quit
                | Self::Reset
                | Self::Subscribe
                | Self::Unsubscribe
        )
    }

    /// Whether monitors do not see it at all.
    pub(super) fn is_hidden(self) -> bool {
        matches!(self, Self::Auth)
    }

    /// Whether monitors do not see the word at this position.
    pub(super) fn hides(self, words: &[Vec<u8>], position: usize) -> bool {
        let auth = |word: &Vec<u8>| word.eq_ignore_ascii_case(b"auth");
        self == Self::Hello
            && words
                .iter()
                .position(auth)
                .is_some_and(|auth| position > auth)
    }
}

/// Answers a built-in command.
pub(super) fn answer<'a, S: Service>(
    builtin: Builtin,
    asking: &mut Asking<'_, 'a, S>,
    words: Vec<Vec<u8>>,
) -> Step<'a> {
    let about = ALL.iter().find(|about| about.builtin == builtin);
    let arity = about.map_or(-1, |about| about.arity);
    let least = usize::try_from(arity.unsigned_abs()).unwrap_or(usize::MAX);
    if words.len() < least || (arity > 0 && words.len() > least) {
        let name = String::from_utf8_lossy(&words[0]).to_ascii_lowercase();
        let message = format!("wrong number of arguments for '{name}' command");
        return Step::Now(Value::error(message));
    }
    let arguments = &words[1..];
    match builtin {
        Builtin::Auth => auth::auth(asking, arguments),
        Builtin::Barrier => machine::barrier(asking),
        Builtin::Client => Step::Now(connection::client(asking, arguments)),
        Builtin::Cluster => cluster::cluster(asking, arguments),
        Builtin::Command => command::command(asking, arguments),
        Builtin::Echo => Step::Now(Value::Bulk(arguments[0].clone())),
        Builtin::Hello => auth::hello(asking, arguments),
        Builtin::Info => info::info(asking, arguments),
        Builtin::Machine => machine::machine(asking, arguments),
        Builtin::Monitor => Step::Now(connection::monitor(asking)),
        Builtin::PatternSubscribe => subscribe::subscribe(asking, arguments, true),
        Builtin::PatternUnsubscribe => Step::Now(subscribe::unsubscribe(asking, arguments, true)),
        Builtin::Ping => Step::Now(connection::ping(asking, arguments)),
        Builtin::Quit => {
            asking.session.ends = true;
            Step::Now(Value::OK)
        }
        Builtin::Raft => raft::raft(asking, arguments),
        Builtin::ReadOnly => Step::Now(Value::OK),
        Builtin::Reset => Step::Now(connection::reset(asking)),
        Builtin::Select => Step::Now(connection::select(arguments)),
        Builtin::Subscribe => subscribe::subscribe(asking, arguments, false),
        Builtin::Unsubscribe => Step::Now(subscribe::unsubscribe(asking, arguments, false)),
        Builtin::Version => Step::Now(Value::from(env!("CARGO_PKG_VERSION"))),
    }
}

impl<'a, S: Service> Asking<'_, 'a, S> {
    /// Asks the service as this client, and answers what `render` makes of its response.
    fn ask(
        &self,
        request: Request,
        render: impl FnOnce(Response) -> Option<Value> + Send + 'a,
    ) -> Step<'a> {
        let Some(node) = self.node() else {
            return Step::Now(Value::Error(super::failure::no_authentication().into()));
        };
        Step::Later(Box::pin(async move {
            match node.ask(request).await {
                Ok(response) => render(response).unwrap_or_else(unexpected),
                Err(error) => error,
            }
        }))
    }

    /// The node, as this client may ask it; `None` as long as it has proved nothing.
    fn node(&self) -> Option<Node<'a, S>> {
        Some(Node {
            shared: self.shared,
            caller: self.session.caller.clone()?,
        })
    }
}

/// The service, asked by one client.
struct Node<'a, S> {
    shared: &'a Arc<Shared<S>>,
    caller: Arc<Caller>,
}

impl<S: Service> Node<'_, S> {
    /// Asks; an error is ready to be answered.
    async fn ask(&self, request: Request) -> Result<Response, Value> {
        let writes = matches!(request, Request::Member(_) | Request::Barrier { .. });
        let asked = Asked {
            command: None,
            writes,
        };
        let answered = self.shared.service.handle(&self.caller, request).await;
        answered.map_err(|error: CallError| Value::Error(line(&error, asked)))
    }
}

fn unexpected() -> Value {
    Value::error("the node gave an answer to another question")
}

/// The first argument, which says what is wanted, in lowercase; and the others.
fn subcommand(arguments: &[Vec<u8>]) -> (String, &[Vec<u8>]) {
    let (first, rest) = arguments
        .split_first()
        .map_or((&[][..], arguments), |(first, rest)| {
            (first.as_slice(), rest)
        });
    (String::from_utf8_lossy(first).to_ascii_lowercase(), rest)
}

/// What is answered to a subcommand that is not known, or has another number of arguments.
fn unknown_subcommand(of: &str, given: &str) -> Value {
    let given: String = given.chars().take(128).collect();
    let of = of.to_ascii_uppercase();
    Value::error(format!(
        "unknown subcommand or wrong number of arguments for '{given}'. Try {of} HELP."
    ))
}

/// Lines of help.
fn help(lines: &[&'static str]) -> Value {
    Value::Array(lines.iter().map(|line| Value::Simple(line)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case_and_fit() {
        assert_eq!(Builtin::named(b"pInG"), Some(Builtin::Ping));
        assert_eq!(Builtin::named(b"get"), None);
        let longest = ALL.iter().map(|about| about.name.len()).max();
        assert_eq!(longest, Some(NAME_BYTES_MAX));
        assert!(ALL.is_sorted_by_key(|about| about.name));
    }
}
