//! Values by key.

use core::borrow::Borrow;
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Bound, RangeBounds};

use super::scan::{KeyRange, Scan};
use super::{EncodeKey, EncodeValue, State, StateKey, StateValue, Tag, collection_key, unreadable};
use crate::{Access, ReadWrite};

/// Values by key, in the order of the keys, from [`Context::map`](crate::Context::map) or
/// [`View::map`](crate::View::map).
///
/// Every operation on one key is one call to the host, two where it returns what was there
/// before. Key types of several parts are tuples: a map from `(String, u64)` sorts by the text,
/// then by the number.
pub struct Map<'ctx, K, V, A = ReadWrite> {
    prefix: Vec<u8>,
    state: State<'ctx, A>,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V, A> fmt::Debug for Map<'_, K, V, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Map({})", self.prefix.escape_ascii())
    }
}

impl<K: StateKey, V: StateValue, A: Access> Map<'_, K, V, A> {
    pub(crate) fn new(name: &[u8]) -> Self {
        Self {
            prefix: collection_key(Tag::Map, name),
            state: State::new(),
            types: PhantomData,
        }
    }

    /// The plain key of an entry.
    fn key<Q: EncodeKey + ?Sized>(&self, key: &Q) -> Vec<u8> {
        let mut bytes = self.prefix.clone();
        key.encode_key(&mut bytes);
        bytes
    }

    /// The value at `key`.
    pub fn get<Q: EncodeKey + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let key = self.key(key);
        let bytes = self.state.get(&key)?;
        Some(V::from_stored(bytes).unwrap_or_else(|| unreadable("such value", &key)))
    }

    /// Whether there is a value at `key`.
    pub fn contains<Q: EncodeKey + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.state.contains(self.key(key))
    }

    /// Whether the map has no entries.
    pub fn is_empty(&self) -> bool {
        let range = KeyRange::prefix(self.prefix.clone());
        let mut scan = self.state.scan(range.keys_only().limit(1));
        scan.next_pair().is_none()
    }

    /// How many entries there are. Walks over all of them: a plugin that needs the number often
    /// keeps a [`Counter`](super::Counter) beside the map.
    pub fn count(&self) -> u64 {
        let mut scan = Scan::new(KeyRange::prefix(self.prefix.clone()).keys_only());
        let mut count = 0;
        while scan.next_pair().is_some() {
            count += 1;
        }
        count
    }

    /// The entry with the first key.
    pub fn first(&self) -> Option<(K, V)> {
        self.iter().limit(1).next()
    }

    /// The entry with the last key.
    pub fn last(&self) -> Option<(K, V)> {
        self.iter().reverse().limit(1).next()
    }

    /// Walks over the entries, first key first.
    pub fn iter(&self) -> MapIter<K, V> {
        self.iter_over(KeyRange::prefix(self.prefix.clone()))
    }

    /// Walks over the entries within bounds: `map.range(from..)`.
    pub fn range<Q: EncodeKey + ?Sized>(&self, bounds: impl RangeBounds<Q>) -> MapIter<K, V>
    where
        K: Borrow<Q>,
    {
        let map = KeyRange::prefix(self.prefix.clone());
        // Encoded keys are prefix-free, so every key that begins with an excluded one is it.
        let after = |key: &Q| KeyRange::prefix(self.key(key)).into_end();
        let start = match bounds.start_bound() {
            Bound::Included(key) => self.key(key),
            Bound::Excluded(key) => after(key).expect("a map's keys begin with its tag"),
            Bound::Unbounded => self.prefix.clone(),
        };
        let end = match bounds.end_bound() {
            Bound::Included(key) => after(key),
            Bound::Excluded(key) => Some(self.key(key)),
            Bound::Unbounded => map.into_end(),
        };
        self.iter_over(KeyRange::between(start, end))
    }

    fn iter_over(&self, range: KeyRange) -> MapIter<K, V> {
        MapIter {
            scan: Walk::Planned(range),
            prefix_length: self.prefix.len(),
            types: PhantomData,
        }
    }
}

impl<K: StateKey, V: StateValue> Map<'_, K, V, ReadWrite> {
    /// Sets the value at `key`.
    pub fn insert<Q, W>(&self, key: &Q, value: &W)
    where
        K: Borrow<Q>,
        V: Borrow<W>,
        Q: EncodeKey + ?Sized,
        W: EncodeValue + ?Sized,
    {
        self.state.put(self.key(key), value.to_stored());
    }

    /// Removes the value at `key`, if there is one.
    pub fn remove<Q: EncodeKey + ?Sized>(&self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.state.delete(self.key(key));
    }

    /// Removes the value at `key` and returns it.
    pub fn take<Q: EncodeKey + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let value = self.get(key)?;
        self.remove(key);
        Some(value)
    }

    /// Removes all entries and returns how many there were.
    pub fn clear(&self) -> u64 {
        self.state
            .delete_range(KeyRange::prefix(self.prefix.clone()))
    }
}

impl<K: StateKey, V: StateValue, A: Access> IntoIterator for &Map<'_, K, V, A> {
    type Item = (K, V);
    type IntoIter = MapIter<K, V>;

    fn into_iter(self) -> MapIter<K, V> {
        self.iter()
    }
}

/// A walk over a map's entries, from [`Map::iter`] or [`Map::range`].
#[derive(Debug)]
pub struct MapIter<K, V> {
    scan: Walk,
    prefix_length: usize,
    types: PhantomData<fn() -> (K, V)>,
}

/// How to walk can be changed until the walk begins.
#[derive(Debug)]
enum Walk {
    Planned(KeyRange),
    Begun(Scan),
}

impl Walk {
    fn plan(self, change: impl FnOnce(KeyRange) -> KeyRange) -> Self {
        match self {
            Walk::Planned(range) => Walk::Planned(change(range)),
            Walk::Begun(_) => panic!("the walk has begun"),
        }
    }

    fn begin(&mut self) -> &mut Scan {
        if let Walk::Planned(range) = self {
            let range = core::mem::replace(range, KeyRange::all());
            *self = Walk::Begun(Scan::new(range));
        }
        let Walk::Begun(scan) = self else {
            unreachable!("the walk has just begun");
        };
        scan
    }
}

impl<K: StateKey, V: StateValue> MapIter<K, V> {
    /// From the last key to the first.
    ///
    /// # Panics
    /// When the walk has begun.
    pub fn reverse(mut self) -> Self {
        self.scan = self.scan.plan(KeyRange::reverse);
        self
    }

    /// At most this many entries. Unlike [`Iterator::take`] it fetches no more than these.
    ///
    /// # Panics
    /// When the walk has begun.
    pub fn limit(mut self, limit: u32) -> Self {
        self.scan = self.scan.plan(|range| range.limit(limit));
        self
    }

    /// Only the keys. Unlike mapping the entries it does not fetch the values.
    ///
    /// # Panics
    /// When the walk has begun.
    pub fn keys(self) -> impl Iterator<Item = K> {
        let prefix_length = self.prefix_length;
        let mut scan = self.scan.plan(KeyRange::keys_only);
        core::iter::from_fn(move || {
            let (key, _) = scan.begin().next_pair()?;
            Some(decode_key(key, prefix_length))
        })
    }
}

impl<K: StateKey, V: StateValue> Iterator for MapIter<K, V> {
    type Item = (K, V);

    fn next(&mut self) -> Option<(K, V)> {
        let (key, value) = self.scan.begin().next_pair()?;
        let value = V::from_stored(value.to_vec()).unwrap_or_else(|| unreadable("such value", key));
        Some((decode_key(key, self.prefix_length), value))
    }
}

fn decode_key<K: StateKey>(key: &[u8], prefix_length: usize) -> K {
    let mut input = &key[prefix_length..];
    match K::decode_key(&mut input) {
        Some(decoded) if input.is_empty() => decoded,
        _ => unreadable("entry with such a key", key),
    }
}
