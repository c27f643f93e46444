//! What a command is given: [`View`] to read, [`Context`] to read and write.

use core::marker::PhantomData;
use core::ops::Deref;

use crate::state::{Cell, Counter, List, Map, State, StateKey, StateValue};
use crate::{Random, ReadOnly, Time, Timer, events};

/// A read command's view: the state frozen after some command, and that command's time.
///
/// Writing does not compile:
///
/// ```compile_fail,E0599
/// # use hostd_sdk::prelude::*;
/// fn take(view: &View) -> i64 {
///     view.counter("next").add(1)
/// }
/// ```
#[derive(Debug)]
pub struct View {
    /// The clock stands still while a command runs, so asking once is enough.
    now: core::cell::Cell<Option<Time>>,
    /// Only the SDK makes views, one for each command.
    private: PhantomData<*const ()>,
}

/// A write command's context: all that a [`View`] can do, and changing the state, setting timers
/// and publishing events.
///
/// All of a command's changes take effect together once it returns, or none of them when it is
/// rejected or panics. Reads see the command's own changes.
///
/// Whatever takes a `&View` takes a `&Context` too, so that reads and writes can share functions.
#[derive(Debug)]
pub struct Context(View);

impl View {
    pub(crate) fn new() -> Self {
        Self {
            now: core::cell::Cell::new(None),
            private: PhantomData,
        }
    }

    /// The command's time: equal on every replica, later than that of every command before it.
    /// A read sees the time of the last command that took effect.
    pub fn now(&self) -> Time {
        self.now.get().unwrap_or_else(|| {
            let now = Time::now();
            self.now.set(Some(now));
            now
        })
    }

    /// The command's random numbers.
    pub fn random(&self) -> Random<'_> {
        Random::new()
    }

    /// A whole number that starts at 0.
    pub fn counter(&self, name: impl AsRef<[u8]>) -> Counter<'_, ReadOnly> {
        Counter::new(name.as_ref())
    }

    /// A single value.
    pub fn cell<T: StateValue>(&self, name: impl AsRef<[u8]>) -> Cell<'_, T, ReadOnly> {
        Cell::new(name.as_ref())
    }

    /// Values by key, in the order of the keys.
    pub fn map<K: StateKey, V: StateValue>(
        &self,
        name: impl AsRef<[u8]>,
    ) -> Map<'_, K, V, ReadOnly> {
        Map::new(name.as_ref())
    }

    /// Values in a row.
    pub fn list<T: StateValue>(&self, name: impl AsRef<[u8]>) -> List<'_, T, ReadOnly> {
        List::new(name.as_ref())
    }

    /// The plain keys and values that all the others are made of.
    pub fn state(&self) -> State<'_, ReadOnly> {
        State::new()
    }

    /// A timer, to see when it is due.
    pub fn timer<Id: AsRef<[u8]>>(&self, id: Id) -> Timer<'_, Id, ReadOnly> {
        Timer::new(id)
    }
}

impl Context {
    pub(crate) fn new() -> Self {
        Self(View::new())
    }

    /// A whole number that starts at 0.
    pub fn counter(&self, name: impl AsRef<[u8]>) -> Counter<'_> {
        Counter::new(name.as_ref())
    }

    /// A single value.
    pub fn cell<T: StateValue>(&self, name: impl AsRef<[u8]>) -> Cell<'_, T> {
        Cell::new(name.as_ref())
    }

    /// Values by key, in the order of the keys.
    pub fn map<K: StateKey, V: StateValue>(&self, name: impl AsRef<[u8]>) -> Map<'_, K, V> {
        Map::new(name.as_ref())
    }

    /// Values in a row.
    pub fn list<T: StateValue>(&self, name: impl AsRef<[u8]>) -> List<'_, T> {
        List::new(name.as_ref())
    }

    /// The plain keys and values that all the others are made of.
    pub fn state(&self) -> State<'_> {
        State::new()
    }

    /// A timer, to set or to cancel. Its id is what the method with `#[wake]` is given.
    pub fn timer<Id: AsRef<[u8]>>(&self, id: Id) -> Timer<'_, Id> {
        Timer::new(id)
    }

    /// Tells those who watch `topic` that something happened. They hear of it once the command
    /// took effect.
    pub fn publish(&self, topic: &str, payload: impl AsRef<[u8]>) {
        events::publish(topic, payload.as_ref());
    }
}

impl Deref for Context {
    type Target = View;

    fn deref(&self) -> &View {
        &self.0
    }
}
