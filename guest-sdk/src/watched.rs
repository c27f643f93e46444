//! Which parts of a plugin's state others may watch.

use crate::bindings::hostd::plugin::types;
use crate::state::map_prefix;

/// A part of the plugin's state whose changes others may watch, key by key: a map, or plain keys
/// under a prefix. Listed in the macro: `#[plugin(watched = [Watched::map("users")])]`.
///
/// Watchers see keys without what the state puts around them, and values as they are stored: text
/// and bytes as they are, other types in their encoding.
#[derive(Clone, Copy, Debug)]
pub struct Watched {
    place: Place,
    shown: &'static str,
    tails: &'static [Tail],
}

/// The end of values that is the plugin's own, of those with one last byte.
#[derive(Clone, Copy, Debug)]
pub struct Tail {
    last: u8,
    bytes: u32,
    counted: bool,
}

impl Tail {
    /// Of values with this last byte, so many bytes at the end, that one included.
    pub const fn fixed(last: u8, bytes: u32) -> Self {
        Self {
            last,
            bytes,
            counted: false,
        }
    }

    /// The same, and before them as many more as the byte before them says, and that byte.
    pub const fn counted(last: u8, bytes: u32) -> Self {
        Self {
            counted: true,
            ..Self::fixed(last, bytes)
        }
    }

    fn describe(self) -> types::Tail {
        types::Tail {
            last: self.last,
            bytes: self.bytes,
            counted: self.counted,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Map(&'static str),
    NumberMap(&'static str),
    Plain(&'static [u8]),
}

impl Watched {
    /// The [`Map`](crate::state::Map) of this name, whose keys are text or bytes.
    pub const fn map(name: &'static str) -> Self {
        Self::at(Place::Map(name))
    }

    /// The [`Map`](crate::state::Map) of this name, whose keys are numbers or tuples. Watchers see them
    /// as the state has them: see [`EncodeKey`](crate::state::EncodeKey).
    pub const fn encoded_map(name: &'static str) -> Self {
        Self::at(Place::NumberMap(name))
    }

    /// The plain keys that begin with `prefix`, which watchers do not see.
    pub const fn plain(prefix: &'static [u8]) -> Self {
        Self::at(Place::Plain(prefix))
    }

    /// Puts something in front of the keys, as watchers see them: so that several parts stay apart.
    #[must_use]
    pub const fn under(self, shown: &'static str) -> Self {
        Self { shown, ..self }
    }

    /// Hides the end of values, where it is the plugin's own.
    #[must_use]
    pub const fn without_tails(self, tails: &'static [Tail]) -> Self {
        Self { tails, ..self }
    }

    const fn at(place: Place) -> Self {
        Self {
            place,
            shown: "",
            tails: &[],
        }
    }

    pub(crate) fn describe(&self) -> types::WatchedPart {
        let (prefix, escaped) = match self.place {
            Place::Map(name) => (map_prefix(name.as_bytes()), true),
            Place::NumberMap(name) => (map_prefix(name.as_bytes()), false),
            Place::Plain(prefix) => (prefix.to_vec(), false),
        };
        types::WatchedPart {
            prefix,
            shown: self.shown.as_bytes().to_vec(),
            escaped,
            tails: self.tails.iter().copied().map(Tail::describe).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_found_where_it_is_kept() {
        static TAILS: [Tail; 1] = [Tail::fixed(0, 9)];
        let part = Watched::map("users").under("users/").describe();
        assert_eq!(part.prefix, b"\x03users\0\0");
        assert_eq!(part.shown, b"users/");
        assert!(part.escaped);
        let part = Watched::plain(b"r").without_tails(&TAILS).describe();
        assert_eq!((&*part.prefix, part.escaped), (&b"r"[..], false));
        assert_eq!((part.tails[0].last, part.tails[0].bytes), (0, 9));
    }
}
