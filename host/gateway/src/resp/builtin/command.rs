//! COMMAND: what every command is, from the plugins' descriptions. Client libraries ask for it to find
//! the keys among arguments.

use std::collections::BTreeMap;

use hostd_protocol::{
    Access, Argument, ArgumentKind, ArgumentType, CommandDescription, PluginDescription, Request,
    Response,
};

use super::{ALL, Asking, Step, help, subcommand, unknown_subcommand};
use crate::Service;
use crate::resp::encode::Value;

const HELP: &[&str] = &[
    "COMMAND: what every command is",
    "COMMAND COUNT: how many there are",
    "COMMAND DOCS [name ...]: what they are for",
    "COMMAND GETKEYS command [argument ...]: the keys among the arguments",
    "COMMAND HELP: this text",
    "COMMAND INFO [name ...]: what these commands are",
    "COMMAND LIST: their names",
];

pub(super) fn command<'a, S: Service>(
    asking: &Asking<'_, 'a, S>,
    arguments: &[Vec<u8>],
) -> Step<'a> {
    let (wanted, rest) = subcommand(arguments);
    let names: Vec<String> = rest
        .iter()
        .map(|name| String::from_utf8_lossy(name).to_ascii_lowercase())
        .collect();
    let render: fn(&Commands, &[String]) -> Value = match (wanted.as_str(), rest) {
        ("", []) => |commands, _| commands.all(info),
        ("count", []) => |commands, _| Value::Integer(commands.0.len() as i64),
        ("list", []) => |commands, _| commands.all(|name, _| Value::from(name)),
        ("info", []) => |commands, _| commands.all(info),
        ("info", _) => |commands, names| {
            let found = names.iter().map(|name| match commands.0.get(name) {
                Some(what) => info(name, what),
                None => Value::Nil,
            });
            Value::Array(found.collect())
        },
        ("docs", _) => docs,
        ("getkeys", [name, arguments @ ..]) => return Step::Now(keys_of(asking, name, arguments)),
        ("help", []) => return Step::Now(help(HELP)),
        (wanted, _) => return Step::Now(unknown_subcommand("command", wanted)),
    };
    asking.ask(Request::Commands, move |response| match response {
        Response::Commands(plugins) => Some(render(&Commands::of(plugins), &names)),
        _ => None,
    })
}

/// Commands by the names that RESP clients use.
struct Commands(BTreeMap<String, What>);

enum What {
    Builtin {
        arity: i64,
        summary: &'static str,
    },
    Plugin {
        plugin: String,
        command: CommandDescription,
    },
}

impl Commands {
    fn of(plugins: Vec<PluginDescription>) -> Self {
        let mut counts = BTreeMap::new();
        for command in plugins.iter().flat_map(|plugin| &plugin.commands) {
            *counts.entry(command.name.clone()).or_insert(0) += 1;
        }
        let mut all = BTreeMap::new();
        for plugin in plugins {
            for command in plugin.commands {
                let shared = counts.get(&command.name).is_some_and(|count| *count > 1);
                let name = if shared {
                    format!("{}.{}", plugin.name, command.name)
                } else {
                    command.name.clone()
                };
                let plugin = plugin.name.clone();
                all.insert(name, What::Plugin { plugin, command });
            }
        }
        // Where a plugin has a command of the same name, the built-in one is meant.
        all.extend(ALL.iter().map(|about| {
            let (arity, summary) = (about.arity, about.summary);
            (about.name.to_owned(), What::Builtin { arity, summary })
        }));
        Self(all)
    }

    fn all(&self, show: impl Fn(&str, &What) -> Value) -> Value {
        let all = self.0.iter();
        Value::Array(all.map(|(name, what)| show(name, what)).collect())
    }
}

/// Name, arity, flags, first key, last key, step, categories, tips, key specifications, subcommands.
fn info(name: &str, what: &What) -> Value {
    let simple =
        |texts: &[&'static str]| Value::Set(texts.iter().map(|text| Value::Simple(text)).collect());
    let (arity, flags, categories, keys) = match what {
        What::Builtin { arity, .. } => (
            *arity,
            simple(&["loading", "stale", "fast"]),
            simple(&["@connection"]),
            Keys::NONE,
        ),
        What::Plugin { command, .. } => {
            let (flag, category) = match command.access {
                Access::Read => ("readonly", "@read"),
                Access::Write => ("write", "@write"),
            };
            let keys = Keys::of(command);
            (arity(command), simple(&[flag]), simple(&[category]), keys)
        }
    };
    Value::Array(vec![
        Value::from(name),
        Value::Integer(arity),
        flags,
        Value::Integer(keys.first),
        Value::Integer(keys.last),
        Value::Integer(keys.step),
        categories,
        Value::Array(Vec::new()),
        Value::Array(Vec::new()),
        Value::Array(Vec::new()),
    ])
}

/// How many words a call has: exactly so many, or at least so many when negative.
fn arity(command: &CommandDescription) -> i64 {
    let always = command.arguments.iter();
    let always = always.filter(|argument| {
        matches!(
            argument.kind,
            ArgumentKind::Required | ArgumentKind::Repeated
        )
    });
    let least = 1 + always.count() as i64;
    let exact = command
        .arguments
        .iter()
        .all(|argument| argument.kind == ArgumentKind::Required);
    if exact { least } else { -least }
}

/// Where keys stand in a call, counted from the command's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Keys {
    first: i64,
    /// Counted from the end when negative.
    last: i64,
    step: i64,
}

impl Keys {
    const NONE: Self = Self {
        first: 0,
        last: 0,
        step: 0,
    };

    fn of(command: &CommandDescription) -> Self {
        let arguments = &command.arguments;
        let is_repeated = |argument: &&Argument| argument.kind == ArgumentKind::Repeated;
        let Some(first) = arguments.iter().position(|argument| argument.is_key) else {
            return Self::NONE;
        };
        let group = arguments.iter().filter(is_repeated).count() as i64;
        if arguments[first].kind == ArgumentKind::Repeated {
            let behind = group - 1;
            return Self {
                first: first as i64 + 1,
                last: -1 - behind.max(0),
                step: group,
            };
        }
        let run = arguments[first..]
            .iter()
            .take_while(|argument| argument.is_key);
        Self {
            first: first as i64 + 1,
            last: (first + run.count()) as i64,
            step: 1,
        }
    }

    /// The keys of a call with these arguments.
    fn among(self, arguments: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let last = if self.last < 0 {
            arguments.len() as i64 + 1 + self.last
        } else {
            self.last
        };
        let step = usize::try_from(self.step).unwrap_or(1).max(1);
        (self.first..=last)
            .step_by(step)
            .filter(|position| *position > 0)
            .filter_map(|position| arguments.get(usize::try_from(position).ok()? - 1).cloned())
            .collect()
    }
}

fn keys_of<S: Service>(asking: &Asking<'_, '_, S>, name: &[u8], arguments: &[Vec<u8>]) -> Value {
    let name = String::from_utf8_lossy(name);
    asking.shared.service.describe(&name, |found| {
        let Some((_, command)) = found else {
            return Value::error("Invalid command specified");
        };
        let keys = Keys::of(command).among(arguments);
        if keys.is_empty() {
            return Value::error("The command has no key arguments");
        }
        Value::Array(keys.into_iter().map(Value::Bulk).collect())
    })
}

/// What commands are for. Names that are not known are left out.
fn docs(commands: &Commands, names: &[String]) -> Value {
    let all = commands.0.iter();
    let wanted = all.filter(|(name, _)| names.is_empty() || names.contains(name));
    let pairs = wanted.map(|(name, what)| {
        let mut about = match what {
            What::Builtin { summary, .. } => vec![
                ("summary", Value::from(*summary)),
                ("group", Value::from("server")),
            ],
            What::Plugin { plugin, command } => vec![
                ("summary", Value::from(command.summary.as_str())),
                ("group", Value::from(plugin.as_str())),
            ],
        };
        if let What::Plugin { command, .. } = what
            && !command.arguments.is_empty()
        {
            let arguments = command.arguments.iter().map(argument).collect();
            about.push(("arguments", Value::Array(arguments)));
        }
        (Value::from(name.as_str()), map(about))
    });
    Value::Map(pairs.collect())
}

fn argument(argument: &Argument) -> Value {
    let kind = match (&argument.kind, argument.value) {
        (ArgumentKind::Flag(_), _) => "pure-token",
        _ if argument.is_key => "key",
        (_, ArgumentType::Integer) => "integer",
        (_, ArgumentType::Double) => "double",
        (_, ArgumentType::Text | ArgumentType::Bytes) => "string",
    };
    let mut about = vec![
        ("name", Value::from(argument.name.as_str())),
        ("type", Value::from(kind)),
        ("display_text", Value::from(argument.name.as_str())),
    ];
    if let ArgumentKind::Keyword(token) | ArgumentKind::Flag(token) = &argument.kind {
        about.push(("token", Value::from(token.as_str())));
    }
    let flag = match argument.kind {
        ArgumentKind::Required => None,
        ArgumentKind::Repeated => Some("multiple"),
        _ => Some("optional"),
    };
    if let Some(flag) = flag {
        about.push(("flags", Value::Set(vec![Value::Simple(flag)])));
    }
    map(about)
}

fn map(pairs: Vec<(&str, Value)>) -> Value {
    let pairs = pairs.into_iter();
    Value::Map(
        pairs
            .map(|(key, value)| (Value::from(key), value))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(arguments: &[(&str, ArgumentKind, bool)]) -> CommandDescription {
        let arguments = arguments.iter().cloned();
        CommandDescription {
            name: "test".into(),
            access: Access::Write,
            arguments: arguments
                .map(|(name, kind, is_key)| Argument {
                    name: name.into(),
                    kind,
                    value: ArgumentType::Bytes,
                    is_key,
                    secret: false,
                })
                .collect(),
            summary: String::new(),
            details: String::new(),
            examples: Vec::new(),
        }
    }

    #[test]
    fn keys_are_found_among_arguments() {
        use ArgumentKind::{Flag, Repeated, Required};
        let of = |arguments: &[(&str, ArgumentKind, bool)], words: &[&str]| {
            let command = command(arguments);
            let keys = Keys::of(&command);
            let words: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
            let found = keys.among(&words).into_iter();
            let found: Vec<String> = found.map(|key| String::from_utf8(key).unwrap()).collect();
            (
                (keys.first, keys.last, keys.step),
                arity(&command),
                found.join(" "),
            )
        };
        let set = [
            ("key", Required, true),
            ("value", Required, false),
            ("NX", Flag("NX".into()), false),
        ];
        assert_eq!(of(&set, &["k", "v"]), ((1, 1, 1), -3, "k".into()));
        let del = [("keys", Repeated, true)];
        assert_eq!(of(&del, &["a", "b"]), ((1, -1, 1), -2, "a b".into()));
        let mset = [("key", Repeated, true), ("value", Repeated, false)];
        assert_eq!(
            of(&mset, &["a", "1", "b", "2"]),
            ((1, -2, 2), -3, "a b".into())
        );
        let rename = [("key", Required, true), ("new", Required, true)];
        assert_eq!(of(&rename, &["a", "b"]), ((1, 2, 1), 3, "a b".into()));
        assert_eq!(of(&[], &[]), ((0, 0, 0), 1, String::new()));
    }
}
