//! Values in a row.

use core::borrow::Borrow;
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Bound, RangeBounds};

use super::scan::{KeyRange, Scan};
use super::{EncodeKey as _, EncodeValue, State, StateValue, Tag, collection_key, unreadable};
use crate::{Access, ReadWrite};

/// Values in a row, from [`Context::list`](crate::Context::list) or
/// [`View::list`](crate::View::list): added and taken at both ends, read anywhere.
///
/// Each item has a key of its own, and one more key holds where the list begins and ends, so
/// every operation on one item costs the same however long the list is: two calls to the host.
pub struct List<'ctx, T, A = ReadWrite> {
    /// The key of the ends; an item's key is this and its place.
    key: Vec<u8>,
    state: State<'ctx, A>,
    types: PhantomData<fn() -> T>,
}

impl<T, A> fmt::Debug for List<'_, T, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "List({})", self.key.escape_ascii())
    }
}

/// The places of a list's items: `first..end`, never empty in the state.
#[derive(Clone, Copy)]
struct Ends {
    first: u64,
    end: u64,
}

impl Ends {
    /// In the middle, so that a list can grow at both ends for ever.
    const EMPTY: Ends = Ends {
        first: 1 << 63,
        end: 1 << 63,
    };

    fn len(self) -> u64 {
        self.end - self.first
    }

    /// The place of the item at `index`, counted from the first.
    fn place(self, index: u64) -> Option<u64> {
        (index < self.len()).then(|| self.first + index)
    }
}

impl<T: StateValue, A: Access> List<'_, T, A> {
    pub(crate) fn new(name: &[u8]) -> Self {
        Self {
            key: collection_key(Tag::List, name),
            state: State::new(),
            types: PhantomData,
        }
    }

    fn ends(&self) -> Ends {
        let Some(bytes) = self.state.get(&self.key) else {
            return Ends::EMPTY;
        };
        match <(u64, u64)>::from_stored(bytes) {
            Some((first, end)) if first < end => Ends { first, end },
            _ => unreadable("list", &self.key),
        }
    }

    fn item_key(&self, place: u64) -> Vec<u8> {
        let mut key = Vec::with_capacity(self.key.len() + 8);
        key.extend_from_slice(&self.key);
        place.encode_key(&mut key);
        key
    }

    fn item(&self, place: u64) -> T {
        let key = self.item_key(place);
        let item = self.state.get(&key).and_then(T::from_stored);
        item.unwrap_or_else(|| unreadable("such item", &key))
    }

    /// How many items there are.
    pub fn len(&self) -> u64 {
        self.ends().len()
    }

    /// Whether there are no items.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The item at `index`, counted from 0.
    pub fn get(&self, index: u64) -> Option<T> {
        self.ends().place(index).map(|place| self.item(place))
    }

    /// The first item.
    pub fn first(&self) -> Option<T> {
        self.get(0)
    }

    /// The last item.
    pub fn last(&self) -> Option<T> {
        let ends = self.ends();
        let last = ends.len().checked_sub(1)?;
        ends.place(last).map(|place| self.item(place))
    }

    /// Walks over the items, first to last.
    pub fn iter(&self) -> ListIter<T> {
        self.range(..)
    }

    /// Walks over the items with these indices: `list.range(10..20)`. Indices past the end are
    /// left out.
    pub fn range(&self, indices: impl RangeBounds<u64>) -> ListIter<T> {
        let ends = self.ends();
        let start = match indices.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match indices.end_bound() {
            Bound::Included(index) => index.saturating_add(1),
            Bound::Excluded(index) => *index,
            Bound::Unbounded => u64::MAX,
        };
        let end = end.min(ends.len());
        let start = start.min(end);
        let first = self.item_key(ends.first + start);
        let range = KeyRange::between(first, Some(self.item_key(ends.first + end)));
        ListIter {
            // Nothing to ask the host for when nothing can be there.
            scan: (start < end).then(|| Scan::new(range)),
            types: PhantomData,
        }
    }
}

impl<T: StateValue> List<'_, T, ReadWrite> {
    /// Adds an item behind the last.
    pub fn push<Q: EncodeValue + ?Sized>(&self, item: &Q)
    where
        T: Borrow<Q>,
    {
        let ends = self.ends();
        let grown = Ends {
            end: ends.end + 1,
            ..ends
        };
        self.write(grown, ends.end, Some(item.to_stored().as_ref()));
    }

    /// Adds an item before the first.
    pub fn push_front<Q: EncodeValue + ?Sized>(&self, item: &Q)
    where
        T: Borrow<Q>,
    {
        let ends = self.ends();
        let grown = Ends {
            first: ends.first - 1,
            ..ends
        };
        self.write(grown, grown.first, Some(item.to_stored().as_ref()));
    }

    /// Replaces the item at `index`. False, and no change, when there is no such item.
    pub fn set<Q: EncodeValue + ?Sized>(&self, index: u64, item: &Q) -> bool
    where
        T: Borrow<Q>,
    {
        let Some(place) = self.ends().place(index) else {
            return false;
        };
        self.state.put(self.item_key(place), item.to_stored());
        true
    }

    /// Takes the last item.
    pub fn pop(&self) -> Option<T> {
        let ends = self.ends();
        let last = ends.place(ends.len().checked_sub(1)?)?;
        let item = self.item(last);
        self.write(Ends { end: last, ..ends }, last, None);
        Some(item)
    }

    /// Takes the first item.
    pub fn pop_front(&self) -> Option<T> {
        let ends = self.ends();
        let first = ends.place(0)?;
        let item = self.item(first);
        let shrunk = Ends {
            first: first + 1,
            ..ends
        };
        self.write(shrunk, first, None);
        Some(item)
    }

    /// Removes all items and returns how many there were.
    pub fn clear(&self) -> u64 {
        let length = self.len();
        if length > 0 {
            self.state.delete_range(KeyRange::prefix(self.key.clone()));
        }
        length
    }

    /// Writes the ends, and the item at `place` or its removal, in one call.
    fn write(&self, ends: Ends, place: u64, item: Option<&[u8]>) {
        let Ends { first, end } = ends;
        let places = (first, end);
        let stored = places.to_stored();
        // An empty list leaves nothing behind.
        let stored = (first < end).then_some(stored.as_ref());
        self.state
            .write_batch(&[(&self.item_key(place), item), (&self.key, stored)]);
    }
}

impl<T: StateValue, A: Access> IntoIterator for &List<'_, T, A> {
    type Item = T;
    type IntoIter = ListIter<T>;

    fn into_iter(self) -> ListIter<T> {
        self.iter()
    }
}

/// A walk over a list's items, from [`List::iter`] or [`List::range`].
#[derive(Debug)]
pub struct ListIter<T> {
    scan: Option<Scan>,
    types: PhantomData<fn() -> T>,
}

impl<T: StateValue> Iterator for ListIter<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let (key, item) = self.scan.as_mut()?.next_pair()?;
        Some(T::from_stored(item.to_vec()).unwrap_or_else(|| unreadable("such item", key)))
    }
}
