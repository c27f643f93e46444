//! A single value.

use core::borrow::Borrow;
use core::fmt;
use core::marker::PhantomData;

use super::{EncodeValue, State, StateValue, Tag, collection_key, unreadable};
use crate::{Access, ReadWrite};

/// A single value that may be there, from [`Context::cell`](crate::Context::cell) or
/// [`View::cell`](crate::View::cell).
pub struct Cell<'ctx, T, A = ReadWrite> {
    key: Vec<u8>,
    state: State<'ctx, A>,
    types: PhantomData<fn() -> T>,
}

impl<T, A> fmt::Debug for Cell<'_, T, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cell({})", self.key.escape_ascii())
    }
}

impl<T: StateValue, A: Access> Cell<'_, T, A> {
    pub(crate) fn new(name: &[u8]) -> Self {
        Self {
            key: collection_key(Tag::Cell, name),
            state: State::new(),
            types: PhantomData,
        }
    }

    /// The value, if there is one.
    pub fn get(&self) -> Option<T> {
        let bytes = self.state.get(&self.key)?;
        Some(T::from_stored(bytes).unwrap_or_else(|| unreadable("such value", &self.key)))
    }

    /// The value, or the type's default.
    pub fn get_or_default(&self) -> T
    where
        T: Default,
    {
        self.get().unwrap_or_default()
    }
}

impl<T: StateValue> Cell<'_, T, ReadWrite> {
    /// Sets the value.
    pub fn set<Q: EncodeValue + ?Sized>(&self, value: &Q)
    where
        T: Borrow<Q>,
    {
        self.state.put(&self.key, value.to_stored());
    }

    /// Removes the value and returns it.
    pub fn take(&self) -> Option<T> {
        let value = self.get()?;
        self.clear();
        Some(value)
    }

    /// Removes the value.
    pub fn clear(&self) {
        self.state.delete(&self.key);
    }
}
