//! Walking over ranges of keys.

use core::ops::Bound;
use core::ops::RangeBounds;

use crate::bindings::hostd::plugin::state;

/// A range of plain keys, and how to walk over it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// First key, inclusive.
    start: Vec<u8>,
    /// Last key, exclusive; none for the end of the map.
    end: Option<Vec<u8>>,
    reverse: bool,
    keys_only: bool,
    /// 0 for no limit.
    limit: u32,
}

impl KeyRange {
    /// All keys.
    pub fn all() -> Self {
        Self::between(Vec::new(), None)
    }

    /// All keys that begin with `prefix`.
    pub fn prefix(prefix: impl Into<Vec<u8>>) -> Self {
        let start = prefix.into();
        let end = prefix_end(&start);
        Self::between(start, end)
    }

    /// The keys within bounds: `KeyRange::within(b"a".to_vec()..b"b".to_vec())`.
    pub fn within(bounds: impl RangeBounds<Vec<u8>>) -> Self {
        let start = match bounds.start_bound() {
            Bound::Included(key) => key.clone(),
            Bound::Excluded(key) => successor(key.clone()),
            Bound::Unbounded => Vec::new(),
        };
        let end = match bounds.end_bound() {
            Bound::Included(key) => Some(successor(key.clone())),
            Bound::Excluded(key) => Some(key.clone()),
            Bound::Unbounded => None,
        };
        Self::between(start, end)
    }

    /// The keys from `start`, inclusive, up to `end`, exclusive.
    pub(super) fn between(start: Vec<u8>, end: Option<Vec<u8>>) -> Self {
        Self {
            start,
            end,
            reverse: false,
            keys_only: false,
            limit: 0,
        }
    }

    /// Walk from the last key to the first.
    pub fn reverse(mut self) -> Self {
        self.reverse = !self.reverse;
        self
    }

    /// Leave the values out: they come as empty.
    pub fn keys_only(mut self) -> Self {
        self.keys_only = true;
        self
    }

    /// Stop after this many keys.
    pub fn limit(mut self, limit: u32) -> Self {
        // The host's 0 means no limit; a range that ends where it starts means none at all.
        if limit == 0 {
            self.end = Some(self.start.clone());
        }
        self.limit = limit;
        self
    }

    /// Its end alone.
    pub(super) fn into_end(self) -> Option<Vec<u8>> {
        self.end
    }

    pub(super) fn to_host(&self) -> state::Range<'_> {
        state::Range {
            start: &self.start,
            end: self.end.as_deref(),
            reverse: self.reverse,
            keys_only: self.keys_only,
            limit: self.limit,
        }
    }
}

/// The first key after all that begin with `prefix`; none when there is no such key.
fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// The first key after `key`.
fn successor(mut key: Vec<u8>) -> Vec<u8> {
    key.push(0);
    key
}

/// A walk over a range of keys, from [`State::scan`](super::State::scan).
///
/// As an [`Iterator`] it gives each pair in vectors of its own; [`Scan::next_pair`] lends them
/// without copying. The host hands pairs over in pages.
#[derive(Debug)]
pub struct Scan {
    /// What is left to fetch.
    range: KeyRange,
    page: Page,
    /// The host has nothing more.
    finished: bool,
}

impl Scan {
    pub(super) fn new(range: KeyRange) -> Self {
        Self {
            range,
            page: Page::default(),
            finished: false,
        }
    }

    /// The next key and its value, which stay in place until the next call.
    pub fn next_pair(&mut self) -> Option<(&[u8], &[u8])> {
        if self.page.is_at_end() {
            self.fetch();
        }
        self.page.next(!self.range.keys_only)
    }

    fn fetch(&mut self) {
        if self.finished {
            return;
        }
        let fetched = state::scan(self.range.to_host());
        self.page = Page::new(fetched);
        let Some((last, pairs)) = self.page.last_key(!self.range.keys_only) else {
            self.finished = true;
            return;
        };
        if self.range.reverse {
            self.range.end = Some(last.to_vec());
        } else {
            self.range.start = successor(last.to_vec());
        }
        if self.range.limit > 0 {
            self.range.limit = self.range.limit.saturating_sub(pairs);
            self.finished = self.range.limit == 0;
        }
    }
}

impl Iterator for Scan {
    type Item = (Vec<u8>, Vec<u8>);

    fn next(&mut self) -> Option<Self::Item> {
        self.next_pair()
            .map(|(key, value)| (key.to_vec(), value.to_vec()))
    }
}

/// A page of pairs as the host packs them: length and key, then length and value unless only
/// keys were asked for. Lengths are `u32`, little-endian.
#[derive(Debug, Default)]
struct Page {
    bytes: Vec<u8>,
    position: usize,
}

impl Page {
    fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, position: 0 }
    }

    fn is_at_end(&self) -> bool {
        self.position == self.bytes.len()
    }

    fn next(&mut self, with_value: bool) -> Option<(&[u8], &[u8])> {
        let Self { bytes, position } = self;
        next_pair(bytes, position, with_value)
    }

    /// The last key of the page, and how many there are.
    fn last_key(&self, with_value: bool) -> Option<(&[u8], u32)> {
        let mut position = 0;
        let mut last = None;
        let mut pairs = 0;
        while let Some((key, _)) = next_pair(&self.bytes, &mut position, with_value) {
            last = Some(key);
            pairs += 1;
        }
        last.map(|key| (key, pairs))
    }
}

fn next_pair<'page>(
    bytes: &'page [u8],
    position: &mut usize,
    with_value: bool,
) -> Option<(&'page [u8], &'page [u8])> {
    if *position == bytes.len() {
        return None;
    }
    let key = next_part(bytes, position);
    let value = if with_value {
        next_part(bytes, position)
    } else {
        &[]
    };
    Some((key, value))
}

/// The part at `position`: its length, then its bytes.
fn next_part<'page>(bytes: &'page [u8], position: &mut usize) -> &'page [u8] {
    let (length, rest) = bytes[*position..]
        .split_first_chunk()
        .expect("the host packs whole pairs");
    let length = u32::from_le_bytes(*length) as usize;
    *position += 4 + length;
    &rest[..length]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_first_key_without_it() {
        assert_eq!(prefix_end(b"ab").as_deref(), Some(b"ac".as_slice()));
        assert_eq!(prefix_end(b"a\xff\xff").as_deref(), Some(b"b".as_slice()));
        assert_eq!(prefix_end(b"\xff"), None);
        assert_eq!(prefix_end(b""), None);
    }

    #[test]
    fn bounds_become_inclusive_starts_and_exclusive_ends() {
        let key = |text: &str| text.as_bytes().to_vec();
        assert_eq!(
            KeyRange::within(key("a")..key("b")),
            KeyRange::between(key("a"), Some(key("b")))
        );
        assert_eq!(
            KeyRange::within((Bound::Excluded(key("a")), Bound::Included(key("b")))),
            KeyRange::between(key("a\0"), Some(key("b\0")))
        );
        assert_eq!(KeyRange::within(..), KeyRange::all());
    }

    #[test]
    fn a_limit_of_nothing_is_an_empty_range() {
        let range = KeyRange::prefix("a").limit(0);
        assert_eq!(range.end, Some(range.start));
    }

    #[test]
    fn a_page_lends_its_pairs_in_order() {
        let mut bytes = Vec::new();
        for part in [b"key".as_slice(), b"value", b"k", b""] {
            bytes.extend_from_slice(&(part.len() as u32).to_le_bytes());
            bytes.extend_from_slice(part);
        }
        let mut page = Page::new(bytes);
        assert_eq!(page.last_key(true), Some((b"k".as_slice(), 2)));
        assert_eq!(page.last_key(false), Some((b"".as_slice(), 4)));
        assert_eq!(
            page.next(true),
            Some((b"key".as_slice(), b"value".as_slice()))
        );
        assert_eq!(page.next(true), Some((b"k".as_slice(), b"".as_slice())));
        assert_eq!(page.next(true), None);
        assert!(page.is_at_end());
    }
}
