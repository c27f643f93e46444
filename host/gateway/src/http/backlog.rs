//! Answers of one connection that wait for its reader.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;

/// How much waits, and since when none of it was taken.
#[derive(Debug)]
pub(super) struct Backlog(Mutex<State>);

#[derive(Debug)]
struct State {
    bytes: usize,
    moved: Instant,
}

impl Backlog {
    pub(super) fn new() -> Self {
        Self(Mutex::new(State {
            bytes: 0,
            moved: Instant::now(),
        }))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// An answer begins to wait.
    pub(super) fn add(&self, bytes: usize) {
        let mut state = self.lock();
        if state.bytes == 0 {
            state.moved = Instant::now();
        }
        state.bytes += bytes;
    }

    /// Some of an answer was taken, or is not waited for any more.
    pub(super) fn take(&self, bytes: usize) {
        let mut state = self.lock();
        state.bytes -= bytes;
        state.moved = Instant::now();
    }

    /// Waits until for so long nothing was taken of what waits.
    pub(super) async fn stalled(&self, limit: Duration) {
        loop {
            let idle = {
                let state = self.lock();
                match state.bytes {
                    0 => Duration::ZERO,
                    _ => state.moved.elapsed(),
                }
            };
            match limit.saturating_sub(idle) {
                Duration::ZERO => return,
                left => tokio::time::sleep(left).await,
            }
        }
    }
}
