//! A simulated computer: one runtime with a clock of its own.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

/// A runtime whose time passes only when it is told to.
#[derive(Debug)]
pub(crate) struct Host {
    runtime: Runtime,
    /// Time that passed while it did not run, to be caught up at once.
    missed: Duration,
}

impl Host {
    /// A computer with nothing to do.
    pub(crate) fn new() -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()?;
        Ok(Self {
            runtime,
            missed: Duration::ZERO,
        })
    }

    /// Gives it something to do.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(work);
    }

    /// Calls a function with the runtime around it.
    pub(crate) fn enter<T>(&self, function: impl FnOnce() -> T) -> T {
        let _entered = self.runtime.enter();
        function()
    }

    /// Lets `time` pass, and everything happen that happens in it.
    pub(crate) fn run(&mut self, time: Duration) {
        let missed = std::mem::take(&mut self.missed);
        self.runtime.block_on(async {
            if !missed.is_zero() {
                tokio::time::advance(missed).await;
            }
            tokio::time::sleep(time).await;
        });
    }

    /// Lets `time` pass without anything happening, as on a computer that is stopped: what was due
    /// happens late.
    pub(crate) fn stall(&mut self, time: Duration) {
        self.missed += time;
    }
}
