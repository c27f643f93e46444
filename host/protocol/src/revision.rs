//! Which command wrote something: the clock of watches.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The command that wrote a row or made a change: its entry's log index and its position in the
/// entry. Shown, and read, as `INDEX-POSITION`; an index alone is read as its first command.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Revision {
    /// Log index of the entry.
    pub index: u64,
    /// Position of the command in the entry, from 0.
    pub position: u32,
}

/// The text is no revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a revision is a log index, or INDEX-POSITION")]
pub struct NoRevision;

impl Revision {
    /// The first revision of the entry at `index`.
    pub fn start_of(index: u64) -> Self {
        Self { index, position: 0 }
    }

    /// The first revision behind this one.
    #[must_use]
    pub fn next(self) -> Self {
        match self.position.checked_add(1) {
            Some(position) => Self { position, ..self },
            None => Self::start_of(self.index.saturating_add(1)),
        }
    }

    /// The last revision before this one.
    #[must_use]
    pub fn previous(self) -> Self {
        match self.position.checked_sub(1) {
            Some(position) => Self { position, ..self },
            None => Self {
                index: self.index.saturating_sub(1),
                position: u32::MAX,
            },
        }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.index, self.position)
    }
}

impl FromStr for Revision {
    type Err = NoRevision;

    fn from_str(text: &str) -> Result<Self, NoRevision> {
        let (index, position) = text.split_once('-').unwrap_or((text, "0"));
        let number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
        if !number(index) || !number(position) {
            return Err(NoRevision);
        }
        Ok(Self {
            index: index.parse().map_err(|_| NoRevision)?,
            position: position.parse().map_err(|_| NoRevision)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_are_read_as_they_are_shown() {
        let revision = |index, position| Revision { index, position };
        for revision in [
            revision(0, 0),
            revision(12, 3),
            revision(u64::MAX, u32::MAX),
        ] {
            assert_eq!(revision.to_string().parse(), Ok(revision));
        }
        assert_eq!("12".parse(), Ok(revision(12, 0)));
        for text in [
            "",
            "-",
            "12-",
            "-3",
            "+1",
            "1-+2",
            "1-2-3",
            "a",
            "99999999999999999999",
        ] {
            assert_eq!(text.parse::<Revision>(), Err(NoRevision), "{text}");
        }
    }

    #[test]
    fn the_next_revision_is_the_first_that_is_greater() {
        let last = Revision {
            index: 7,
            position: u32::MAX,
        };
        assert_eq!(last.next(), Revision::start_of(8));
        assert!(Revision::start_of(7) < Revision::start_of(7).next());
        for revision in [last, last.next(), last.next().next()] {
            assert_eq!(revision.previous().next(), revision);
        }
    }
}
