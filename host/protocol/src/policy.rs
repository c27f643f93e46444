//! Who may do what: rules that every replica has, and the secrets by which clients without a
//! certificate prove who they are.
//!
//! This says what a policy is and how it is written; `machine::policy` decides by it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Size of an identity's name.
pub const IDENTITY_BYTES_MAX: usize = 256;

/// Size of a rule's path.
pub const PATH_BYTES_MAX: usize = 4_096;

/// Rules that a cluster can have.
pub const RULES_MAX: usize = 10_000;

/// Users that a cluster can have.
pub const USERS_MAX: usize = 10_000;

/// The identity that stands for everybody who has one.
pub const EVERYBODY: &str = "*";

/// The path that every key lies under.
pub const ROOT: &str = "/";

/// All rules, and all secrets. As long as there is no rule, everybody may do everything; once there is
/// one, nobody may do what no rule allows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// What each identity may do.
    pub rules: BTreeMap<String, BTreeSet<Grant>>,
    /// BLAKE3 of each user's secret.
    pub users: BTreeMap<String, [u8; 32]>,
}

/// Something that an identity may do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Grant {
    /// Everything, changing the policy included.
    Admin,
    /// See how the nodes and the plugins are.
    Observe,
    /// Be a node of the cluster. Nodes are asked for it once anybody has it.
    Peer,
    /// Call commands that read, on keys at or below this path.
    Read(String),
    /// Call commands that read or write, on keys at or below this path.
    Write(String),
    /// Call commands, on keys at or below this path.
    Call {
        /// The plugin.
        plugin: String,
        /// The command; `*` for all of the plugin's.
        command: String,
        /// The path.
        path: String,
    },
}

/// One line of a policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rule {
    /// Who: a certificate's common name, a user's name, `node-N`, or [`EVERYBODY`].
    pub identity: String,
    /// What.
    pub grant: Grant,
}

/// A change of the policy. It takes effect as a whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PolicyChange {
    /// Adds rules; those that are there already stay.
    Allow(Vec<Rule>),
    /// Takes rules away.
    Revoke(Vec<Rule>),
    /// Gives a user a secret, in place of the one it had.
    PutUser {
        /// The user's name.
        name: String,
        /// BLAKE3 of the secret. The secret itself must be random, and long: this is no hash for
        /// passwords that people think of.
        secret: [u8; 32],
    },
    /// Takes a user's secret away. Its rules stay.
    RemoveUser {
        /// The user's name.
        name: String,
    },
}

/// Why a rule cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{0}; rules are IDENTITY admin | observe | peer | read PATH | write PATH | call PLUGIN.COMMAND [PATH]"
)]
pub struct RuleError(String);

impl Policy {
    /// Every rule, sorted.
    pub fn lines(&self) -> impl Iterator<Item = Rule> {
        self.rules.iter().flat_map(|(identity, grants)| {
            grants.iter().map(|grant| Rule {
                identity: identity.clone(),
                grant: grant.clone(),
            })
        })
    }
}

impl Rule {
    /// A rule of its words: the identity, what it may do, and on what.
    ///
    /// `IDENTITY PATH read` is understood as well as `IDENTITY read PATH`.
    pub fn from_words(words: &[&str]) -> Result<Self, RuleError> {
        let (identity, grant) = match words {
            [identity, grant @ ..] if !grant.is_empty() => (*identity, grant),
            _ => return Err(RuleError("a rule names who may do what".into())),
        };
        let named = !identity.is_empty() && identity.len() <= IDENTITY_BYTES_MAX;
        if !named || identity.contains(char::is_whitespace) {
            return Err(RuleError(format!(
                "{identity:?} is no identity: at most {IDENTITY_BYTES_MAX} bytes, no spaces"
            )));
        }
        Ok(Self {
            identity: identity.to_owned(),
            grant: Grant::from_words(grant)?,
        })
    }
}

impl Grant {
    fn from_words(words: &[&str]) -> Result<Self, RuleError> {
        Ok(match words {
            ["admin"] => Self::Admin,
            ["observe"] => Self::Observe,
            ["peer"] => Self::Peer,
            ["read", path] | [path, "read"] => Self::Read(clean(path)?),
            ["write", path] | [path, "write"] => Self::Write(clean(path)?),
            ["call", command] => Self::call(command, ROOT)?,
            ["call", command, path] => Self::call(command, path)?,
            _ => return Err(RuleError(format!("'{}' is no rule", words.join(" ")))),
        })
    }

    fn call(command: &str, path: &str) -> Result<Self, RuleError> {
        let Some((plugin, name)) = command
            .split_once('.')
            .filter(|(plugin, name)| !plugin.is_empty() && !name.is_empty())
        else {
            return Err(RuleError(format!(
                "'{command}' is not PLUGIN.COMMAND, such as kv.get or kv.*"
            )));
        };
        if command.len() > IDENTITY_BYTES_MAX {
            return Err(RuleError("the command's name is too long".into()));
        }
        Ok(Self::Call {
            plugin: plugin.to_ascii_lowercase(),
            command: name.to_ascii_lowercase(),
            path: clean(path)?,
        })
    }
}

/// A path without slashes at its end. The root stays.
fn clean(path: &str) -> Result<String, RuleError> {
    if path.is_empty() || path.len() > PATH_BYTES_MAX {
        return Err(RuleError(format!(
            "a path has 1 to {PATH_BYTES_MAX} bytes; {ROOT} is everything"
        )));
    }
    let trimmed = path.trim_end_matches('/');
    Ok(if trimmed.is_empty() { ROOT } else { trimmed }.to_owned())
}

impl FromStr for Rule {
    type Err = RuleError;

    /// Of one line. A path may contain spaces.
    fn from_str(line: &str) -> Result<Self, RuleError> {
        let line = line.trim();
        let mut words: Vec<&str> = line.split_whitespace().collect();
        let before_path = match words.get(1) {
            Some(&("read" | "write")) => 2,
            Some(&"call") => 3,
            _ => return Self::from_words(&words),
        };
        if words.len() > before_path + 1 {
            let path = words[before_path];
            // The words are pieces of the line, so this is where the path begins in it.
            let at = path.as_ptr() as usize - line.as_ptr() as usize;
            words.truncate(before_path);
            words.push(&line[at..]);
        }
        Self::from_words(&words)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.identity, self.grant)
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Admin => formatter.write_str("admin"),
            Self::Observe => formatter.write_str("observe"),
            Self::Peer => formatter.write_str("peer"),
            Self::Read(path) => write!(formatter, "read {path}"),
            Self::Write(path) => write!(formatter, "write {path}"),
            Self::Call {
                plugin,
                command,
                path,
            } => write!(formatter, "call {plugin}.{command} {path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_read_as_it_is_shown() {
        for line in [
            "admin admin",
            "ops observe",
            "node-4 peer",
            "* read /",
            "alice read /foo",
            "alice write /foo bar",
            "alice call kv.get /prefix",
            "alice call kv.* /a b  c",
        ] {
            let rule: Rule = line.parse().unwrap();
            assert_eq!(rule.to_string(), line);
        }
    }

    #[test]
    fn rules_may_be_written_otherwise() {
        let same = |one: &str, other: &str| {
            assert_eq!(one.parse::<Rule>(), other.parse::<Rule>(), "{one}");
            assert!(one.parse::<Rule>().is_ok(), "{one}");
        };
        same("alice /foo read", "alice read /foo");
        same("  alice   write  /foo/// ", "alice write /foo");
        same("alice read ///", "alice read /");
        same("bob call KV.Get", "bob call kv.get /");
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for line in [
            "",
            "alice",
            "alice fly",
            "alice read",
            "alice call get",
            "alice call .get",
            "alice call kv.",
            "alice peer /foo",
            "alice admin now",
        ] {
            assert!(line.parse::<Rule>().is_err(), "{line:?}");
        }
        assert!(Rule::from_words(&["al ice", "admin"]).is_err());
        assert!(Rule::from_words(&["a", "read", &"x".repeat(5_000)]).is_err());
    }
}
