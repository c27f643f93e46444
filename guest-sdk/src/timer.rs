//! Asking to be woken.

use core::marker::PhantomData;
use core::time::Duration;

use crate::bindings::hostd::plugin::timer;
use crate::{Access, ReadWrite, Time};

/// A timer by its id, from [`Context::timer`](crate::Context::timer) or
/// [`View::timer`](crate::View::timer).
///
/// Timers are state: they survive restarts, and a command that is rejected sets none. Waiting
/// costs nothing: the cluster logs one entry once the time has come, and every replica then
/// calls the method with `#[wake]`.
#[derive(Clone, Debug)]
pub struct Timer<'ctx, Id, A = ReadWrite> {
    id: Id,
    access: PhantomData<&'ctx A>,
}

impl<Id: AsRef<[u8]>, A: Access> Timer<'_, Id, A> {
    pub(crate) fn new(id: Id) -> Self {
        Self {
            id,
            access: PhantomData,
        }
    }

    /// When the timer is due, if it is set.
    pub fn due(&self) -> Option<Time> {
        timer::get(self.id.as_ref()).map(Time::from_nanos)
    }
}

impl<Id: AsRef<[u8]>> Timer<'_, Id, ReadWrite> {
    /// Wakes the plugin at `time` or soon after, never before. A timer that is set moves. A time
    /// that is not in the future counts as the next nanosecond.
    pub fn set(&self, time: Time) {
        timer::set(self.id.as_ref(), time.as_nanos());
    }

    /// Wakes the plugin once `delay` has passed.
    pub fn set_after(&self, delay: Duration) {
        self.set(Time::now() + delay);
    }

    /// Forgets the timer. One that is not set stays unset.
    pub fn cancel(&self) {
        timer::cancel(self.id.as_ref());
    }
}
