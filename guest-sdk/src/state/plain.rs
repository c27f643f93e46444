//! The plugin's ordered map from bytes to bytes.

use core::fmt;
use core::marker::PhantomData;

use super::{KeyRange, Scan};
use crate::bindings::hostd::plugin::state;
use crate::{Access, ReadWrite};

/// The plugin's own ordered map from bytes to bytes, which nobody else can read or write. Keys
/// sort by their bytes.
///
/// A key or value over the cluster's limits ends the command with `too_large`.
#[derive(Clone, Copy)]
pub struct State<'ctx, A = ReadWrite>(PhantomData<&'ctx A>);

impl<A> fmt::Debug for State<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("State")
    }
}

impl<A: Access> State<'_, A> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }

    /// The value at `key`.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<Vec<u8>> {
        state::get(key.as_ref())
    }

    /// Whether there is a value at `key`.
    pub fn contains(&self, key: impl AsRef<[u8]>) -> bool {
        // No scan: the host answers a single key much faster than a range.
        self.get(key).is_some()
    }

    /// The values at several keys, in one call to the host.
    pub fn get_many(&self, keys: &[&[u8]]) -> Vec<Option<Vec<u8>>> {
        state::get_many(keys)
    }

    /// Walks over a range of keys with their values.
    ///
    /// The walk sees what the command writes meanwhile, except among the pairs that it has
    /// fetched already.
    pub fn scan(&self, range: KeyRange) -> Scan {
        Scan::new(range)
    }
}

impl State<'_, ReadWrite> {
    /// Sets the value at `key`.
    pub fn put(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        state::put(key.as_ref(), value.as_ref());
    }

    /// Removes `key`, if it is there.
    pub fn delete(&self, key: impl AsRef<[u8]>) {
        state::delete(key.as_ref());
    }

    /// Sets (`Some`) and removes (`None`) several keys, in order, in one call to the host.
    pub fn write_batch(&self, writes: &[(&[u8], Option<&[u8]>)]) {
        state::write_batch(writes);
    }

    /// Removes every key of a range, or as many as its limit says, and returns how many.
    pub fn delete_range(&self, range: KeyRange) -> u64 {
        state::delete_range(range.to_host())
    }
}
