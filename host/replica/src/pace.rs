//! Who does the work beside Raft, and, in a simulation, how long it takes.

use std::{fmt, sync::Arc, time::Duration};

/// Where the log writer, the machine and the checkpoints run.
#[derive(Clone, Debug)]
pub enum WriterMode {
    /// On threads of their own.
    Thread,
    /// As tasks of the runtime, which take simulated time: for a simulator, where one thread does
    /// everything. Work begins when its time is over, and is then done at once.
    Task(Pace),
}

impl WriterMode {
    /// Does what would hold up everything else, beside it. `None` when that was not to its end: the
    /// thread died, or the runtime ends.
    pub(crate) async fn beside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        match self {
            Self::Task(_) => Some(work()),
            Self::Thread => match tokio::task::spawn_blocking(work).await {
                Ok(done) => Some(done),
                Err(error) => {
                    if error.is_panic() {
                        tracing::error!("a thread of the replica panicked");
                    }
                    None
                }
            },
        }
    }
}

/// A piece of work whose time a simulator decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Committing what waits to be logged.
    LogCommit,
    /// Applying a group of entries, or another look at the machine.
    Apply,
    /// Writing a checkpoint to disk.
    Checkpoint,
}

/// How long each piece of work takes.
#[derive(Clone)]
pub struct Pace(Arc<dyn Fn(Work) -> Duration + Send + Sync>);

impl Pace {
    /// Asks `duration` before each piece of work.
    pub fn new(duration: impl Fn(Work) -> Duration + Send + Sync + 'static) -> Self {
        Self(Arc::new(duration))
    }

    /// Nothing takes any time.
    pub fn instant() -> Self {
        Self::new(|_| Duration::ZERO)
    }

    pub(crate) async fn take_time(&self, work: Work) {
        let duration = (self.0)(work);
        if !duration.is_zero() {
            tokio::time::sleep(duration).await;
        }
    }
}

impl fmt::Debug for Pace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Pace")
    }
}
