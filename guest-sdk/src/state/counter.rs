//! A whole number.

use core::fmt;

use super::{State, StateValue as _, Tag, collection_key, unreadable};
use crate::{Access, ReadWrite};

/// A whole number that starts at 0, from [`Context::counter`](crate::Context::counter) or
/// [`View::counter`](crate::View::counter).
pub struct Counter<'ctx, A = ReadWrite> {
    key: Vec<u8>,
    state: State<'ctx, A>,
}

impl<A> fmt::Debug for Counter<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Counter({})", self.key.escape_ascii())
    }
}

impl<A: Access> Counter<'_, A> {
    pub(crate) fn new(name: &[u8]) -> Self {
        Self {
            key: collection_key(Tag::Counter, name),
            state: State::new(),
        }
    }

    /// Its value.
    pub fn get(&self) -> i64 {
        match self.state.get(&self.key) {
            None => 0,
            Some(bytes) => {
                i64::from_stored(bytes).unwrap_or_else(|| unreadable("counter", &self.key))
            }
        }
    }
}

impl Counter<'_, ReadWrite> {
    /// Sets its value. At 0 it takes no space.
    pub fn set(&self, value: i64) {
        if value == 0 {
            self.state.delete(&self.key);
        } else {
            self.state.put(&self.key, value.to_le_bytes());
        }
    }

    /// Adds to it, or takes away, and returns its new value.
    ///
    /// # Panics
    /// When the value would leave the range of `i64`; see [`Counter::checked_add`].
    pub fn add(&self, amount: i64) -> i64 {
        self.checked_add(amount)
            .expect("a counter stays within 64 bits")
    }

    /// Adds to it, or takes away, and returns its new value; `None`, and no change, when that
    /// would leave the range of `i64`.
    pub fn checked_add(&self, amount: i64) -> Option<i64> {
        let value = self.get().checked_add(amount)?;
        self.set(value);
        Some(value)
    }
}
