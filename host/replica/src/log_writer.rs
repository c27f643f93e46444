//! Group commit: everything that waits becomes durable in one transaction and one sync.
//!
//! Writes of all groups queue here in the order in which they were made, and are committed in
//! that order. One thread does it, or, for a simulator that wants no threads, a task.
//!
//! An error is a fault: the write that met it and every later one fail, none is ever tried
//! again, since after a failed sync nobody knows what is on the disk.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    thread::JoinHandle,
    time::Duration,
};

use hostd_planted::{self as planted, Bug};
use openraft::storage::IOFlushed;
use tokio::{
    sync::{Notify, oneshot, watch},
    task::AbortHandle,
    time::Instant,
};

use crate::{
    log_store::{Change, LogDatabase},
    measure::Measures,
    pace::{Pace, Work, WriterMode},
    types::TypeConfig,
};

/// Bytes of one transaction, roughly. A larger queue is committed in several.
const COMMIT_BYTES_MAX: usize = 8 << 20;
/// Purged entries that are removed at once, between two commits that somebody waits for.
const SWEEP_ENTRIES: usize = 512;

/// Who waits for a write.
pub(crate) enum Done {
    /// Nobody.
    Nobody,
    /// Raft.
    Raft(IOFlushed<TypeConfig>),
    /// A task.
    Task(oneshot::Sender<io::Result<()>>),
}

impl Done {
    fn complete(self, result: io::Result<()>) {
        match self {
            Done::Nobody => {}
            Done::Raft(flushed) => flushed.io_completed(result),
            // The task may have gone away.
            Done::Task(sender) => drop(sender.send(result)),
        }
    }
}

/// One write: all its changes become durable together.
pub(crate) struct Write {
    pub(crate) changes: Vec<Change>,
    /// Bytes that the changes add.
    pub(crate) bytes: usize,
    /// Called once it is durable, before anybody who waits is told.
    pub(crate) durable: Option<Box<dyn FnOnce() + Send>>,
    pub(crate) done: Done,
}

impl std::fmt::Debug for Write {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Write")
            .field("changes", &self.changes.len())
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Queue {
    writes: Vec<Write>,
    /// Somebody wants the queue committed.
    wanted: bool,
    /// Since when somebody waits for a commit.
    since: Option<Instant>,
    /// There may be purged entries to remove.
    sweep: bool,
    closed: bool,
    fault: Option<String>,
}

impl Queue {
    /// Whether there is something to do; `Some(false)` when there never will be.
    fn has_work(&self) -> Option<bool> {
        if self.wanted || (self.sweep && !self.closed) {
            Some(true)
        } else if self.closed || self.fault.is_some() {
            Some(false)
        } else {
            None
        }
    }
}

#[derive(Debug)]
struct Shared {
    database: Arc<LogDatabase>,
    queue: Mutex<Queue>,
    wake: Wake,
    fault: watch::Sender<Option<String>>,
    measures: Arc<Measures>,
}

/// What the committing thread or task sleeps on.
#[derive(Debug)]
enum Wake {
    Thread(Condvar),
    Task(Arc<Notify>),
}

impl Wake {
    fn notify(&self) {
        match self {
            Wake::Thread(condition) => condition.notify_one(),
            Wake::Task(notify) => notify.notify_one(),
        }
    }
}

/// Who commits.
#[derive(Debug)]
enum Worker {
    Thread(JoinHandle<()>),
    Task(AbortHandle),
}

/// The one writer of a log database.
#[derive(Debug)]
pub(crate) struct LogWriter {
    shared: Arc<Shared>,
    worker: Mutex<Option<Worker>>,
}

impl LogWriter {
    /// Starts to write. A task needs a tokio runtime around this call.
    pub(crate) fn start(
        database: Arc<LogDatabase>,
        mode: &WriterMode,
        measures: Arc<Measures>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            database,
            queue: Mutex::new(Queue {
                // Entries may be left from a sweep that a crash interrupted.
                sweep: true,
                ..Queue::default()
            }),
            wake: match mode {
                WriterMode::Thread => Wake::Thread(Condvar::new()),
                WriterMode::Task(_) => Wake::Task(Arc::default()),
            },
            fault: watch::Sender::new(None),
            measures,
        });
        let worker = if let (Wake::Task(wake), WriterMode::Task(pace)) = (&shared.wake, mode) {
            let task = run_task(Arc::downgrade(&shared), Arc::clone(wake), pace.clone());
            Worker::Task(tokio::spawn(task).abort_handle())
        } else {
            let shared = Arc::clone(&shared);
            let thread = std::thread::Builder::new().name("log-writer".into());
            Worker::Thread(thread.spawn(move || shared.run())?)
        };
        Ok(Self {
            shared,
            worker: Mutex::new(Some(worker)),
        })
    }

    /// Queues a write, to be committed with the next that [`LogWriter::commit_soon`] asks for.
    /// The order of calls is the order on disk.
    pub(crate) fn push(&self, #[cfg_attr(not(test), allow(unused_mut))] mut write: Write) {
        let mut queue = self.shared.lock();
        if let Some(reason) = &queue.fault {
            let error = fault_error(reason);
            drop(queue);
            write.done.complete(Err(error));
            return;
        }
        if queue.closed {
            drop(queue);
            write
                .done
                .complete(Err(io::Error::other("the log is closed")));
            return;
        }
        if planted::active(Bug::AckBeforeFsync) {
            let done = std::mem::replace(&mut write.done, Done::Nobody);
            queue.writes.push(write);
            drop(queue);
            done.complete(Ok(()));
            return;
        }
        queue.writes.push(write);
    }

    /// Has everything committed that is queued, soon.
    pub(crate) fn commit_soon(&self) {
        let asleep = {
            let mut queue = self.shared.lock();
            queue.since.get_or_insert_with(Instant::now);
            !std::mem::replace(&mut queue.wanted, true)
        };
        if asleep {
            self.shared.wake.notify();
        }
    }

    /// For how long somebody has waited for a commit; `None` when nobody does.
    pub(crate) fn waits(&self) -> Option<Duration> {
        self.shared.lock().since.map(|since| since.elapsed())
    }

    /// Asks that purged entries be removed, when there is nothing better to do.
    pub(crate) fn sweep(&self) {
        self.shared.lock().sweep = true;
        self.shared.wake.notify();
    }

    /// Why the writer stopped; `None` while it works.
    pub(crate) fn fault(&self) -> watch::Receiver<Option<String>> {
        self.shared.fault.subscribe()
    }

    /// The error that a write would meet now, if the writer stopped.
    pub(crate) fn check(&self) -> io::Result<()> {
        match &self.shared.lock().fault {
            Some(reason) => Err(fault_error(reason)),
            None => Ok(()),
        }
    }

    /// Commits what is queued and stops. Blocks until it is done; later writes fail.
    pub(crate) fn close(&self) {
        let mut queue = self.shared.lock();
        queue.closed = true;
        queue.wanted = true;
        drop(queue);
        self.shared.wake.notify();
        let worker = self
            .worker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match worker {
            Some(Worker::Thread(thread)) => thread
                .join()
                .unwrap_or_else(|_| tracing::error!("the log writer panicked")),
            // A task cannot be waited for here, but what it would do can be done.
            Some(Worker::Task(task)) => {
                task.abort();
                self.shared.commit_queue();
            }
            None => {}
        }
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.close();
    }
}

/// Commits for as long as somebody has the writer. It holds on to the database only while it works,
/// so that a writer that is dropped lets go of its file at once.
async fn run_task(shared: Weak<Shared>, wake: Arc<Notify>, pace: Pace) {
    loop {
        let Some(work) = shared.upgrade().map(|shared| shared.lock().has_work()) else {
            return;
        };
        match work {
            None => wake.notified().await,
            Some(false) => return,
            Some(true) => {
                pace.take_time(Work::LogCommit).await;
                let Some(shared) = shared.upgrade() else {
                    return;
                };
                shared.work();
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        // A panic of redb is a fault like an error of redb: nobody may wait for ever.
        let finished = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            while self.wait_for_work() {
                self.work();
            }
        }));
        if finished.is_err() {
            self.fail("the log writer panicked".into());
        }
    }

    fn work(&self) {
        self.commit_queue();
        // A sweep's commit delays whoever comes meanwhile by one small commit.
        while self.lock().writes.is_empty() && self.sweep_some() {}
    }

    /// Returns false when the writer is to stop.
    fn wait_for_work(&self) -> bool {
        let Wake::Thread(wake) = &self.wake else {
            return false;
        };
        let mut queue = self.lock();
        loop {
            if let Some(more) = queue.has_work() {
                return more;
            }
            queue = wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn commit_queue(&self) {
        let writes = {
            let mut queue = self.lock();
            queue.wanted = false;
            if queue.fault.is_some() {
                Vec::new()
            } else {
                std::mem::take(&mut queue.writes)
            }
        };
        let mut batch = Vec::new();
        let mut bytes = 0;
        for write in writes {
            if bytes > 0 && bytes + write.bytes > COMMIT_BYTES_MAX {
                self.commit(std::mem::take(&mut batch));
                bytes = 0;
            }
            bytes += write.bytes;
            batch.push(write);
        }
        self.commit(batch);
        let mut queue = self.lock();
        // Whoever came meanwhile waits from now on.
        queue.since = queue.wanted.then(Instant::now);
    }

    fn commit(&self, mut batch: Vec<Write>) {
        if batch.is_empty() {
            return;
        }
        let failed = self.lock().fault.clone();
        let result = if let Some(reason) = failed {
            Err(fault_error(&reason))
        } else {
            let changes = batch
                .iter_mut()
                .flat_map(|write| std::mem::take(&mut write.changes))
                .collect();
            let begun = Instant::now();
            let committed = self.database.commit(changes);
            self.measures.log_commit.observe(begun.elapsed());
            committed
        };
        match result {
            Ok(()) => {
                for write in &mut batch {
                    if let Some(durable) = write.durable.take() {
                        durable();
                    }
                }
                // Newest first: what Raft hears about the newest covers the older ones, and each
                // further message would wake it through a timer of a millisecond.
                for write in batch.into_iter().rev() {
                    write.done.complete(Ok(()));
                }
            }
            Err(error) => {
                let reason = error.to_string();
                self.fail(reason.clone());
                for write in batch.into_iter().rev() {
                    write.done.complete(Err(fault_error(&reason)));
                }
            }
        }
    }

    /// Returns whether there is more to remove.
    fn sweep_some(&self) -> bool {
        {
            let queue = self.lock();
            if !queue.sweep || queue.closed || queue.fault.is_some() {
                return false;
            }
        }
        match self.database.sweep(SWEEP_ENTRIES) {
            Ok(more) => {
                if !more {
                    self.lock().sweep = false;
                }
                more
            }
            Err(error) => {
                self.fail(error.to_string());
                false
            }
        }
    }

    fn fail(&self, reason: String) {
        tracing::error!(%reason, "the log cannot be written any more");
        let stranded = {
            let mut queue = self.lock();
            queue.sweep = false;
            queue.fault = Some(reason.clone());
            std::mem::take(&mut queue.writes)
        };
        for write in stranded.into_iter().rev() {
            write.done.complete(Err(fault_error(&reason)));
        }
        self.fault.send_replace(Some(reason));
    }
}

fn fault_error(reason: &str) -> io::Error {
    io::Error::other(format!("the log cannot be written: {reason}"))
}
