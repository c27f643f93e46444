//! When the leader was heard last, for people who ask how a node is.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// The moment of the leader's last message.
#[derive(Default)]
pub(crate) struct Heard(Mutex<Option<Instant>>);

impl Heard {
    /// It was heard now.
    pub(crate) fn now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// The time since; `None` as long as it never was.
    pub(crate) fn since(&self) -> Option<Duration> {
        let heard = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.map(|heard| heard.elapsed())
    }
}
