//! What a plugin says about itself: the source of arity errors, `hostctl commands`, completion
//! and access rules. The shapes of `wit/types.wit`.

use serde::{Deserialize, Serialize};

/// A plugin's account of itself, as its `describe` export returned it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginDescription {
    /// The plugin's name: a lowercase letter, then lowercase letters, digits and dashes.
    pub name: String,
    /// The plugin's version, for people.
    pub version: String,
    /// One line on what the plugin is for.
    pub summary: String,
    /// The version of the layout of the plugin's state that this code writes.
    pub state_version: u32,
    /// State versions that this code can also read.
    pub reads_state_versions: Vec<u32>,
    /// State versions from which this code can migrate to its own.
    pub migrates_state_versions: Vec<u32>,
    /// Whether it migrates one key at a time, so that writes need not wait.
    pub migrates_by_key: bool,
    /// The plugin's commands.
    pub commands: Vec<CommandDescription>,
}

/// One command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandDescription {
    /// The name, in lowercase. Callers may use any case.
    pub name: String,
    /// Whether it may write.
    pub access: Access,
    /// Arguments in order; keyword arguments come after all others and are accepted in any order.
    pub arguments: Vec<Argument>,
    /// First line of the command's help.
    pub summary: String,
    /// The rest of the command's help; may be empty.
    pub details: String,
    /// Example calls, as one would type them.
    pub examples: Vec<String>,
}

/// Whether a command may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// Runs as a query: adds no log entry and cannot write.
    Read,
    /// Runs through the log.
    Write,
}

/// One argument of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Argument {
    /// The name, for usage lines.
    pub name: String,
    /// How often and where it may stand.
    pub kind: ArgumentKind,
    /// What its text must parse as.
    pub value: ArgumentType,
    /// Whether it names a key of the plugin's state.
    pub is_key: bool,
    /// Whether its value is kept out of whatever shows calls.
    pub secret: bool,
}

/// What an argument of a call stands for.
#[derive(Clone, Copy)]
enum Place<'a> {
    /// The value of this one.
    Of(&'a Argument),
    /// A keyword or flag.
    Word,
    /// Nothing that the description knows.
    Nowhere,
}

/// How often and where an argument may stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ArgumentKind {
    /// Exactly once, by position.
    Required,
    /// At most once, by position; all later positional arguments are optional too.
    Optional,
    /// One or more times, by position; the last positional argument. Where the argument before it
    /// is `Repeated` too, the two alternate (`key value [key value ...]`).
    Repeated,
    /// `KEYWORD value`, at most once.
    Keyword(String),
    /// `KEYWORD` alone, at most once.
    Flag(String),
}

/// What an argument's text must parse as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ArgumentType {
    /// A signed 64-bit decimal number.
    Integer,
    /// A floating-point number.
    Double,
    /// UTF-8 text.
    Text,
    /// Any bytes.
    Bytes,
}

impl CommandDescription {
    /// The usage line, in the style of Redis: `set key value [EX seconds] [NX]`.
    pub fn usage(&self) -> String {
        let repeated: Vec<&str> = self
            .arguments
            .iter()
            .filter(|argument| argument.kind == ArgumentKind::Repeated)
            .map(|argument| argument.name.as_str())
            .collect();
        let mut words = vec![self.name.clone()];
        for argument in &self.arguments {
            match argument.kind {
                // Several that repeat alternate: the group is printed once, at its first member.
                ArgumentKind::Repeated if argument.name == repeated[0] => {
                    let group = repeated.join(" ");
                    words.push(format!("{group} [{group} ...]"));
                }
                ArgumentKind::Repeated => {}
                _ => words.push(argument.usage()),
            }
        }
        words.join(" ")
    }

    /// For each argument of a call, whether its value is secret. What the description has no place for
    /// counts as secret where any argument does.
    pub fn secrets<A: AsRef<[u8]>>(&self, arguments: &[A]) -> Vec<bool> {
        let any = self.arguments.iter().any(|argument| argument.secret);
        let places = self.places(arguments).into_iter();
        places
            .map(|place| match place {
                Place::Of(argument) => argument.secret,
                Place::Word => false,
                Place::Nowhere => any,
            })
            .collect()
    }

    /// The arguments of a call that name keys of the plugin's state.
    pub fn keys<'a, A: AsRef<[u8]>>(&self, arguments: &'a [A]) -> Vec<&'a [u8]> {
        let places = self.places(arguments).into_iter().zip(arguments);
        places
            .filter(|(place, _)| matches!(place, Place::Of(argument) if argument.is_key))
            .map(|(_, argument)| argument.as_ref())
            .collect()
    }

    /// What each argument of a call stands for.
    fn places<A: AsRef<[u8]>>(&self, arguments: &[A]) -> Vec<Place<'_>> {
        let keyword = |word: &A| {
            self.arguments.iter().find(|argument| {
                matches!(&argument.kind, ArgumentKind::Keyword(known) | ArgumentKind::Flag(known)
                    if known.as_bytes().eq_ignore_ascii_case(word.as_ref()))
            })
        };
        let mut places = Vec::with_capacity(arguments.len());
        for argument in &self.arguments {
            let next = arguments.get(places.len());
            match argument.kind {
                ArgumentKind::Required => places.push(Place::Of(argument)),
                ArgumentKind::Optional if next.is_some_and(|word| keyword(word).is_none()) => {
                    places.push(Place::Of(argument));
                }
                _ => {}
            }
        }
        places.truncate(arguments.len());
        let repeated = self
            .arguments
            .iter()
            .filter(|argument| argument.kind == ArgumentKind::Repeated);
        let left = arguments.len() - places.len();
        places.extend(repeated.cycle().take(left).map(Place::Of));
        while let Some(word) = arguments.get(places.len()) {
            match keyword(word) {
                Some(known) => {
                    places.push(Place::Word);
                    if !matches!(known.kind, ArgumentKind::Flag(_)) {
                        places.push(Place::Of(known));
                    }
                }
                None => places.push(Place::Nowhere),
            }
        }
        places.truncate(arguments.len());
        places
    }

    /// Checks the number of arguments against the description, without looking at their types.
    ///
    /// Returns the reason when no reading of the description admits `count` arguments. A plugin
    /// still parses what it gets: this is the early, cheap part that every door can do alike.
    pub fn check_arity(&self, count: usize) -> Result<(), String> {
        let mut least = 0;
        let mut most = Some(0usize);
        let mut group = 0;
        for argument in &self.arguments {
            match argument.kind {
                ArgumentKind::Required => {
                    least += 1;
                    most = most.map(|most| most + 1);
                }
                ArgumentKind::Optional | ArgumentKind::Flag(_) => most = most.map(|most| most + 1),
                ArgumentKind::Keyword(_) => most = most.map(|most| most + 2),
                ArgumentKind::Repeated => {
                    least += 1;
                    group += 1;
                    most = None;
                }
            }
        }
        let fits = count >= least && most.is_none_or(|most| count <= most);
        let only_positional = self.arguments.iter().all(|argument| {
            matches!(
                argument.kind,
                ArgumentKind::Required | ArgumentKind::Repeated
            )
        });
        let whole_groups = group < 2
            || !only_positional
            || count.saturating_sub(least - group).is_multiple_of(group);
        if fits && whole_groups {
            Ok(())
        } else {
            Err(format!(
                "wrong number of arguments; usage: {}",
                self.usage()
            ))
        }
    }
}

impl Argument {
    fn usage(&self) -> String {
        match &self.kind {
            ArgumentKind::Required => self.name.clone(),
            ArgumentKind::Optional => format!("[{}]", self.name),
            ArgumentKind::Repeated => format!("{0} [{0} ...]", self.name),
            ArgumentKind::Keyword(keyword) => format!("[{keyword} {}]", self.name),
            ArgumentKind::Flag(keyword) => format!("[{keyword}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argument(name: &str, kind: ArgumentKind, secret: bool) -> Argument {
        Argument {
            name: name.into(),
            kind,
            value: ArgumentType::Bytes,
            is_key: false,
            secret,
        }
    }

    fn command(arguments: Vec<Argument>) -> CommandDescription {
        CommandDescription {
            name: "store".into(),
            access: Access::Write,
            arguments,
            summary: String::new(),
            details: String::new(),
            examples: Vec::new(),
        }
    }

    #[test]
    fn secrets_are_found_wherever_they_stand() {
        use ArgumentKind::{Flag, Keyword, Optional, Repeated, Required};
        let store = command(vec![
            argument("path", Required, false),
            argument("value", Required, true),
            argument("note", Optional, true),
            argument("version", Keyword("IF".into()), false),
            argument("token", Keyword("TOKEN".into()), true),
            argument("new", Flag("NX".into()), false),
        ]);
        let of = |words: &[&str]| store.secrets(words);
        assert_eq!(of(&["p", "v"]), [false, true]);
        assert_eq!(of(&["p", "v", "n", "nx"]), [false, true, true, false]);
        assert_eq!(of(&["p", "v", "if", "1"]), [false, true, false, false]);
        assert_eq!(
            of(&["p", "v", "NX", "token", "t"]),
            [false, true, false, false, true]
        );
        // Too few, or what nobody expects.
        assert_eq!(of(&["p"]), [false]);
        assert_eq!(of(&["p", "v", "n", "odd"]), [false, true, true, true]);
        let pairs = command(vec![
            argument("path", Repeated, false),
            argument("value", Repeated, true),
        ]);
        assert_eq!(
            pairs.secrets(&["a", "1", "b", "2"]),
            [false, true, false, true]
        );
    }

    #[test]
    fn keys_are_found_wherever_they_stand() {
        use ArgumentKind::{Keyword, Repeated, Required};
        let key = |name, kind| Argument {
            is_key: true,
            ..argument(name, kind, false)
        };
        let copy = command(vec![
            key("from", Required),
            argument("count", Required, false),
            key("to", Keyword("TO".into())),
        ]);
        assert_eq!(copy.keys(&["a", "1", "to", "b"]), [b"a", b"b"]);
        assert_eq!(copy.keys(&["a"]), [b"a"]);
        let pairs = command(vec![
            key("key", Repeated),
            argument("value", Repeated, false),
        ]);
        assert_eq!(pairs.keys(&["a", "1", "b", "2"]), [b"a", b"b"]);
    }
}
