//! Names that can be a plugin's, a package's and a type's.

use std::fmt;

use crate::exit::Exit;

/// Longest name that hostd takes.
const BYTES_MAX: usize = 64;

/// What cargo and the compiler keep for themselves, as far as a plugin's name can spell it.
const RESERVED: [&str; 50] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "hostd-sdk",
    "hostd-testing",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc-macro",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
];

/// The rest of them.
const RESERVED_TOO: [&str; 9] = [
    "typeof", "unsafe", "unsized", "use", "virtual", "where", "while", "yield", "union",
];

/// A plugin's name.
#[derive(Debug)]
pub(super) struct Name(String);

impl Name {
    /// Takes what both hostd and cargo take.
    pub(super) fn new(name: &str) -> Result<Self, Exit> {
        let mut bytes = name.bytes();
        let is_well_formed = bytes.next().is_some_and(|first| first.is_ascii_lowercase())
            && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && name.len() <= BYTES_MAX;
        if !is_well_formed {
            return Err(Exit::Usage(format!(
                "{name:?} cannot be a plugin's name: a lowercase letter, then lowercase letters, digits and dashes, {BYTES_MAX} at most; choose one with --name"
            )));
        }
        if RESERVED.contains(&name) || RESERVED_TOO.contains(&name) {
            return Err(Exit::Usage(format!(
                "{name:?} cannot be a crate's name: Rust keeps it for itself; choose another with --name"
            )));
        }
        Ok(Self(name.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the type: `page-votes` becomes `PageVotes`.
    pub(super) fn type_name(&self) -> String {
        let capitalised = |word: &str| {
            let mut letters = word.chars();
            let first = letters.next().map(|first| first.to_ascii_uppercase());
            first.into_iter().chain(letters).collect::<String>()
        };
        self.0.split('-').map(capitalised).collect()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_their_types() {
        for (name, type_name) in [
            ("votes", "Votes"),
            ("page-votes2", "PageVotes2"),
            ("a--b-", "AB"),
        ] {
            assert_eq!(Name::new(name).unwrap().type_name(), type_name);
        }
        let long = "x".repeat(65);
        for name in [
            "", "Votes", "2nd", "-a", "my_votes", "é", "a b", "fn", "std", &long,
        ] {
            assert!(Name::new(name).is_err(), "{name}");
        }
    }
}
