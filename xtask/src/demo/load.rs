//! Clients that take tickets one after another, each a `hostctl call ticket`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use cluster_tests::{Hostctl, Ticket, Tickets};

/// How many at the same time. Each starts a process per ticket; more would measure that.
pub(crate) const CLIENTS: usize = 6;

/// What the clients got.
#[derive(Clone, Debug, Default)]
pub(crate) struct Taken {
    /// Tickets.
    pub(crate) tickets: Tickets,
    /// Calls that ended in an error.
    pub(crate) failures: Vec<String>,
}

/// A running load. Ends when dropped, too.
pub(crate) struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stopping: AtomicBool,
    taken: Mutex<Taken>,
}

impl Load {
    /// Starts the clients.
    pub(crate) fn start(hostctl: &Hostctl) -> Self {
        let shared = Arc::new(Shared::default());
        let client = |number: usize| {
            let (shared, hostctl) = (
                Arc::clone(&shared),
                hostctl.clone().rotated(number).timeout("30s"),
            );
            std::thread::spawn(move || shared.take_tickets(&hostctl))
        };
        let threads = (0..CLIENTS).map(client).collect();
        Self { shared, threads }
    }

    /// How many tickets have been taken.
    pub(crate) fn taken_count(&self) -> usize {
        self.shared.taken().tickets.len()
    }

    /// How many were asked for and taken after `instant`.
    pub(crate) fn begun_and_taken_since(&self, instant: Instant) -> usize {
        self.shared
            .taken()
            .tickets
            .0
            .iter()
            .filter(|ticket| ticket.began > instant)
            .count()
    }

    /// Whether a call has ended in an error.
    pub(crate) fn has_failed(&self) -> bool {
        !self.shared.taken().failures.is_empty()
    }

    /// Lets every client finish its call, and returns what they got.
    pub(crate) fn stop(mut self) -> Taken {
        self.end();
        self.shared.taken().clone()
    }

    fn end(&mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A client that panicked has printed why, and its tickets count as lost.
            let _ = thread.join();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_tickets(&self, hostctl: &Hostctl) {
        while !self.stopping.load(Ordering::Relaxed) {
            let began = Instant::now();
            let reply = hostctl.call(&["ticket"]);
            let ended = Instant::now();
            let number = reply.and_then(|reply| Ok(reply.parse()?));
            let mut taken = self.taken();
            match number {
                Ok(number) => taken.tickets.0.push(Ticket {
                    began,
                    ended,
                    number,
                }),
                Err(error) => {
                    taken.failures.push(format!("{error:#}"));
                    return;
                }
            }
        }
    }
}
