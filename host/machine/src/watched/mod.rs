//! What may be watched from outside: which rows of a plugin's state are shown, and how they look.
//!
//! A plugin declares parts of its state in its export `watched`. Everything here follows from that
//! declaration and the rows, and none of it is state: outcomes, fuel and digests do not depend on it.

mod collect;
mod past;
mod present;

use std::borrow::Cow;
use std::sync::Arc;

pub(crate) use collect::Collector;
pub use past::Past;
pub(crate) use past::{NewPast, forget, load, save};
pub use present::{PresentCursor, PresentPage};

/// Parts that one plugin may declare, and the size of what describes one.
const PARTS_MAX: usize = 64;
const PART_BYTES_MAX: usize = 4 << 10;

/// A part of a plugin's state whose changes may be watched. The shape of `wit/types.wit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// What its keys begin with in the state.
    pub(crate) prefix: Vec<u8>,
    /// What they begin with when shown, in its place.
    pub(crate) shown: Vec<u8>,
    /// Whether the rest of a key is escaped: a zero byte as `00 FF`, and `00 00` at the end.
    pub(crate) escaped: bool,
    /// What at the end of a value is not shown. Where there is nothing here, all of it is shown.
    pub(crate) tails: Vec<Tail>,
}

/// The end of values with one last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    pub(crate) last: u8,
    /// Bytes that are not shown, the last one included.
    pub(crate) bytes: u32,
    /// The byte before those tells how many more before it are not shown.
    pub(crate) counted: bool,
}

impl Tail {
    /// How many bytes of a value are shown.
    fn shown(self, value: &[u8]) -> usize {
        let rest = value.len().saturating_sub(self.bytes as usize);
        match value[..rest].split_last() {
            Some((count, before)) if self.counted => {
                before.len().saturating_sub(usize::from(*count))
            }
            _ => rest,
        }
    }
}

/// The parts that a plugin shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parts(Vec<Part>);

impl Parts {
    /// What a plugin declared.
    ///
    /// # Errors
    /// Says what cannot be used.
    pub(crate) fn new(parts: Vec<Part>) -> Result<Self, String> {
        if parts.len() > PARTS_MAX {
            return Err(format!("more than {PARTS_MAX} watched parts"));
        }
        for part in &parts {
            if part.prefix.len() + part.shown.len() + 8 * part.tails.len() > PART_BYTES_MAX {
                return Err(format!(
                    "a watched part's description is larger than {PART_BYTES_MAX} bytes"
                ));
            }
        }
        let overlap = parts.iter().enumerate().any(|(index, part)| {
            let others = &parts[index + 1..];
            others.iter().any(|other| {
                part.prefix.starts_with(&other.prefix) || other.prefix.starts_with(&part.prefix)
            })
        });
        if overlap {
            return Err("two watched parts have keys in common".into());
        }
        Ok(Self(parts))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Part> {
        self.0.iter()
    }

    /// The part that a key of the state belongs to.
    pub(crate) fn of(&self, key: &[u8]) -> Option<&Part> {
        self.0.iter().find(|part| key.starts_with(&part.prefix))
    }
}

impl Part {
    /// The key as it is shown; `None` for one that does not have the declared form.
    pub(crate) fn show_key(&self, key: &[u8]) -> Option<Arc<[u8]>> {
        let rest = key.strip_prefix(self.prefix.as_slice())?;
        let rest = if self.escaped {
            unescape(rest)?
        } else {
            Cow::Borrowed(rest)
        };
        Some([self.shown.as_slice(), &rest].concat().into())
    }

    /// The value as it is shown. Shared where nothing is cut off.
    pub(crate) fn show_value(&self, value: &Arc<[u8]>) -> Arc<[u8]> {
        let last = value.last();
        let tail = self.tails.iter().find(|tail| Some(&tail.last) == last);
        match tail {
            Some(tail) => value[..tail.shown(value)].into(),
            None => Arc::clone(value),
        }
    }

    /// What keys of the state begin with whose shown forms begin with `prefix`; `None` when there can
    /// be none.
    pub(crate) fn state_prefix(&self, prefix: &[u8]) -> Option<Vec<u8>> {
        if self.shown.starts_with(prefix) {
            return Some(self.prefix.clone());
        }
        let rest = prefix.strip_prefix(self.shown.as_slice())?;
        let mut state = self.prefix.clone();
        if self.escaped {
            for byte in rest {
                state.push(*byte);
                if *byte == 0 {
                    state.push(0xFF);
                }
            }
        } else {
            state.extend_from_slice(rest);
        }
        Some(state)
    }
}

fn unescape(escaped: &[u8]) -> Option<Cow<'_, [u8]>> {
    let text = escaped.strip_suffix(&[0, 0])?;
    if !text.contains(&0) {
        return Some(Cow::Borrowed(text));
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        plain.push(*byte);
        if *byte == 0 && bytes.next() != Some(&0xFF) {
            return None;
        }
    }
    Some(Cow::Owned(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(prefix: &[u8], shown: &[u8], escaped: bool, tails: &[Tail]) -> Part {
        Part {
            prefix: prefix.to_vec(),
            shown: shown.to_vec(),
            escaped,
            tails: tails.to_vec(),
        }
    }

    #[test]
    fn keys_and_prefixes_are_translated_both_ways() {
        let plain = part(b"r", b"", false, &[]);
        assert_eq!(plain.show_key(b"ruser:1").as_deref(), Some(&b"user:1"[..]));
        assert_eq!(plain.state_prefix(b"user:"), Some(b"ruser:".to_vec()));

        let map = part(b"\x03users\0\0", b"users/", true, &[]);
        let key = map.show_key(b"\x03users\0\0a\0\xFFb\0\0");
        assert_eq!(key.as_deref(), Some(&b"users/a\0b"[..]));
        for malformed in [&b"a"[..], b"a\0", b"a\0b\0\0"] {
            let key = [b"\x03users\0\0", malformed].concat();
            assert_eq!(map.show_key(&key), None);
        }
        assert_eq!(map.state_prefix(b"us"), Some(b"\x03users\0\0".to_vec()));
        assert_eq!(
            map.state_prefix(b"users/a\0"),
            Some(b"\x03users\0\0a\0\xFF".to_vec())
        );
        assert_eq!(map.state_prefix(b"groups/"), None);
    }

    #[test]
    fn a_values_tail_is_told_by_its_last_byte() {
        let tail = |last, bytes, counted| Tail {
            last,
            bytes,
            counted,
        };
        let tails = [tail(0, 3, false), tail(1, 5, false), tail(2, 3, true)];
        let part = part(b"r", b"", false, &tails);
        let show = |value: &[u8]| part.show_value(&value.into()).to_vec();
        assert_eq!(show(b"value..\0"), b"value");
        assert_eq!(show(b"value....\x01"), b"value");
        assert_eq!(show(b"valuemedia\x05..\x02"), b"value");
        assert_eq!(show(b"\x05..\x02"), b"");
        assert_eq!(show(b"value"), b"value");
        assert_eq!(show(b"\x01"), b"");
        assert_eq!(show(b""), b"");
    }

    #[test]
    fn parts_that_overlap_are_refused() {
        let one = part(b"ab", b"", false, &[]);
        assert!(Parts::new(vec![one.clone(), part(b"b", b"", false, &[])]).is_ok());
        assert!(Parts::new(vec![one.clone(), part(b"a", b"", false, &[])]).is_err());
        assert!(Parts::new(vec![one; PARTS_MAX + 1]).is_err());
    }
}
