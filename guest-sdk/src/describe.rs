//! What a plugin says about itself: constants that the macros write, and their way to the host.

use crate::arguments::ArgumentType;
use crate::bindings::hostd::plugin::types;

/// A plugin's constants.
#[derive(Debug)]
pub struct PluginInfo {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// What it is for, in one line.
    pub summary: &'static str,
    /// The layout of the state that it writes.
    pub state_version: u32,
    /// Other layouts that it can read.
    pub reads: &'static [u32],
    /// State versions from which it can migrate.
    pub migrates: &'static [u32],
    /// Whether it does so key by key.
    pub migrates_by_key: bool,
    /// Which parts of its state may be watched.
    pub watched: &'static [crate::Watched],
    /// Its commands, a table for each group.
    pub commands: &'static [&'static [CommandInfo]],
}

/// A command's constants.
#[derive(Debug)]
pub struct CommandInfo {
    /// Its name, in lowercase.
    pub name: &'static str,
    /// Whether it goes through the log.
    pub is_write: bool,
    /// Its arguments.
    pub arguments: &'static [ArgumentInfo],
    /// First paragraph of the help.
    pub summary: &'static str,
    /// The rest of the help.
    pub details: &'static str,
    /// Calls as one would type them.
    pub examples: &'static [&'static str],
    /// `set key value [EX seconds]`.
    pub usage: &'static str,
}

/// An argument's constants.
#[derive(Debug)]
pub struct ArgumentInfo {
    /// Its name.
    pub name: &'static str,
    /// How often and where it may stand.
    pub kind: Kind,
    /// What its text must parse as.
    pub value: ArgumentType,
    /// Whether it names a key of the plugin's state.
    pub is_key: bool,
    /// Whether its value is kept out of whatever shows calls.
    pub secret: bool,
}

/// How often and where an argument may stand.
#[derive(Debug)]
pub enum Kind {
    /// Exactly once, by position.
    Required,
    /// At most once, by position.
    Optional,
    /// One or more times, by position.
    Repeated,
    /// After a keyword, at most once.
    Keyword(&'static str),
    /// A keyword alone, at most once.
    Flag(&'static str),
}

impl CommandInfo {
    /// Stands in until the command is known.
    pub(crate) const fn unknown() -> Self {
        Self {
            name: "",
            is_write: false,
            arguments: &[],
            summary: "",
            details: "",
            examples: &[],
            usage: "",
        }
    }

    fn describe(&self) -> types::Command {
        types::Command {
            name: self.name.to_owned(),
            access: if self.is_write {
                types::Access::Write
            } else {
                types::Access::Read
            },
            arguments: self.arguments.iter().map(ArgumentInfo::describe).collect(),
            summary: self.summary.to_owned(),
            details: self.details.to_owned(),
            examples: self
                .examples
                .iter()
                .map(|text| (*text).to_owned())
                .collect(),
        }
    }
}

impl ArgumentInfo {
    fn describe(&self) -> types::Argument {
        types::Argument {
            name: self.name.to_owned(),
            kind: match self.kind {
                Kind::Required => types::ArgumentKind::Required,
                Kind::Optional => types::ArgumentKind::Optional,
                Kind::Repeated => types::ArgumentKind::Repeated,
                Kind::Keyword(keyword) => types::ArgumentKind::Keyword(keyword.to_owned()),
                Kind::Flag(keyword) => types::ArgumentKind::Flag(keyword.to_owned()),
            },
            value: self.value,
            is_key: self.is_key,
            secret: self.secret,
        }
    }
}

impl PluginInfo {
    pub(crate) fn describe(&self) -> types::Description {
        types::Description {
            name: self.name.to_owned(),
            version: self.version.to_owned(),
            summary: self.summary.to_owned(),
            state_version: self.state_version,
            reads_state_versions: self.reads.to_vec(),
            migrates_state_versions: self.migrates.to_vec(),
            migrates_by_key: self.migrates_by_key,
            commands: self
                .commands
                .iter()
                .flat_map(|group| group.iter())
                .map(CommandInfo::describe)
                .collect(),
        }
    }
}

/// Whether hostd takes this as a plugin's name: a lowercase letter, then lowercase letters,
/// digits and dashes.
pub const fn is_plugin_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let mut index = 0;
    while index < bytes.len() {
        let fits = match bytes[index] {
            b'a'..=b'z' => true,
            b'0'..=b'9' | b'-' => index > 0,
            _ => false,
        };
        if !fits {
            return false;
        }
        index += 1;
    }
    !bytes.is_empty()
}

/// Whether no two commands of a plugin have the same name.
pub const fn names_are_unique(groups: &[&[CommandInfo]]) -> bool {
    let mut group = 0;
    while group < groups.len() {
        let mut command = 0;
        while command < groups[group].len() {
            if count(groups, groups[group][command].name) > 1 {
                return false;
            }
            command += 1;
        }
        group += 1;
    }
    true
}

/// How many commands have this name.
const fn count(groups: &[&[CommandInfo]], name: &str) -> usize {
    let mut found = 0;
    let mut group = 0;
    while group < groups.len() {
        let mut command = 0;
        while command < groups[group].len() {
            if are_equal(groups[group][command].name.as_bytes(), name.as_bytes()) {
                found += 1;
            }
            command += 1;
        }
        group += 1;
    }
    found
}

const fn are_equal(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let mut index = 0;
    while index < left.len() {
        if left[index] != right[index] {
            return false;
        }
        index += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn named(name: &'static str) -> CommandInfo {
        CommandInfo {
            name,
            ..CommandInfo::unknown()
        }
    }

    #[test]
    fn plugin_names() {
        for name in ["a", "ticket", "time-series2"] {
            assert!(is_plugin_name(name), "{name}");
        }
        for name in ["", "2nd", "-a", "Ticket", "my_plugin", "é"] {
            assert!(!is_plugin_name(name), "{name}");
        }
    }

    #[test]
    fn a_name_in_two_groups_is_found() {
        let first = [named("get"), named("set")];
        let second = [named("keys"), named("se")];
        assert!(names_are_unique(&[&first, &second]));
        assert!(!names_are_unique(&[&first, &second, &[named("set")]]));
        assert!(!names_are_unique(&[&[named("get"), named("get")]]));
    }
}
