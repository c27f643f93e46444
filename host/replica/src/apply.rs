//! The thread that owns the machine.
//!
//! Raft's entries are applied here in order, and everything else that needs the machine itself is
//! done here in between. The thread's stack is far larger than what guest code may use, so that
//! a guest which recurses meets its own limit first, alike on every node.
//!
//! A checkpoint's write to disk runs beside it, on another thread, and is taken in when it is
//! done, at the latest before the next checkpoint is applied. For a simulator both threads are
//! tasks.

use std::{
    io,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::JoinHandle,
};

use hostd_machine::SnapshotReader;
use hostd_machine::{Durable, Fault, FlushJob, Flushed, Input, InstallError, Machine, Position};
use hostd_planted::{self as planted, Bug};
use hostd_protocol::{Changed, Failure, FailureCode, Policy, Revision, codec};
use openraft::{EntryPayload, storage::ApplyResponder};
use thiserror::Error;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

use crate::{
    measure::Measures,
    observe,
    pace::{Pace, Work, WriterMode},
    spool,
    types::{Applied, LogEntry, StoredMembership, TypeConfig, log_id},
    watch::Hub,
};

/// Stack of the thread that applies; guest code may use half a megabyte.
const STACK_BYTES: usize = 32 << 20;

/// Commands after which what was applied is published and answered, even in the middle of a
/// group of entries.
const PUBLISH_COMMANDS: usize = 1024;

/// An entry to apply, and who waits for its outcome.
pub(crate) type Item = (LogEntry, Option<ApplyResponder<TypeConfig>>);

/// This node cannot apply any more.
#[derive(Clone, Debug, Error)]
#[error("{0}")]
pub(crate) struct ApplyFault(pub(crate) Arc<str>);

impl From<Fault> for ApplyFault {
    fn from(fault: Fault) -> Self {
        Self(fault.to_string().into())
    }
}

impl From<ApplyFault> for io::Error {
    fn from(fault: ApplyFault) -> Self {
        io::Error::other(fault)
    }
}

/// What others may watch of the apply thread.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    /// Log index of the last entry that was applied and published, plus one.
    pub(crate) applied_next: watch::Receiver<u64>,
    /// The last durable checkpoint.
    pub(crate) durable: watch::Receiver<Durable>,
    /// Entries that changed the state were applied since the last checkpoint.
    pub(crate) dirty: Arc<AtomicBool>,
    /// Log index of the last checkpoint that was applied, durable or not; 0 for none.
    pub(crate) checkpoint: watch::Receiver<u64>,
    /// The members as of the last entry applied. Shared, so that readers take it along rather than
    /// keep the channel locked: one that reads again meanwhile would wait for the apply thread, and
    /// that for the reader.
    pub(crate) membership: watch::Receiver<Arc<StoredMembership>>,
    /// This node's state differs from the majority's.
    pub(crate) diverged: watch::Receiver<bool>,
    /// Why apply stopped; `None` while it goes on.
    pub(crate) fault: watch::Receiver<Option<String>>,
}

/// Owns the machine.
pub(crate) struct Applier {
    machine: Machine,
    membership: watch::Sender<Arc<StoredMembership>>,
    flushes: Flushes,
    stopped: bool,
    applied_next: watch::Sender<u64>,
    durable: watch::Sender<Durable>,
    dirty: Arc<AtomicBool>,
    checkpoint: watch::Sender<u64>,
    diverged: watch::Sender<bool>,
    fault: watch::Sender<Option<String>>,
    hub: Arc<Hub>,
    /// What was changed and is not published yet.
    changed: Vec<Arc<Changed>>,
    /// As watchers know it.
    policy: Arc<Policy>,
}

/// Checkpoints being written.
struct Flushes {
    flusher: Flusher,
    /// Why the last one failed: nothing may be applied after it.
    failed: Option<ApplyFault>,
}

/// Where the writes of checkpoints run, and how they come back.
enum Flusher {
    Thread {
        jobs: mpsc::Sender<FlushJob>,
        results: mpsc::Receiver<Result<Flushed, Fault>>,
        /// A job was handed out and not yet taken in.
        pending: bool,
    },
    /// A job is put aside, and done when the task's time has come or when it is waited for.
    Task {
        job: Option<FlushJob>,
        wake: Arc<Notify>,
        measures: Arc<Measures>,
    },
}

impl Flusher {
    fn start(&mut self, job: FlushJob) -> Result<(), ApplyFault> {
        match self {
            Flusher::Thread { jobs, pending, .. } => {
                *pending = true;
                jobs.send(job).map_err(|_| no_flusher())
            }
            Flusher::Task {
                job: slot, wake, ..
            } => {
                *slot = Some(job);
                wake.notify_one();
                Ok(())
            }
        }
    }

    /// Waits for the job that is under way, if one is.
    fn wait(&mut self) -> Result<Option<Flushed>, ApplyFault> {
        match self {
            Flusher::Thread {
                results, pending, ..
            } => {
                if !std::mem::take(pending) {
                    return Ok(None);
                }
                let result = results.recv().map_err(|_| no_flusher())?;
                Ok(Some(result?))
            }
            Flusher::Task { job, measures, .. } => {
                let flushed = job.take().map(|job| flush(job, measures));
                Ok(flushed.transpose()?)
            }
        }
    }

    /// A job that has just ended, or whose time has come.
    fn finished(&mut self) -> Option<Result<Flushed, Fault>> {
        match self {
            Flusher::Thread {
                results, pending, ..
            } => {
                let result = results.try_recv().ok()?;
                *pending = false;
                Some(result)
            }
            Flusher::Task { job, measures, .. } => job.take().map(|job| flush(job, measures)),
        }
    }
}

fn no_flusher() -> ApplyFault {
    ApplyFault("the checkpoint thread has stopped".into())
}

type Job = Box<dyn FnOnce(&mut Applier) + Send>;

/// Gives work to the apply thread.
pub(crate) struct ApplyHandle {
    runner: Runner,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

enum Runner {
    Thread(mpsc::Sender<Job>),
    Task {
        // First come, first served.
        applier: Box<tokio::sync::Mutex<Applier>>,
        pace: Pace,
    },
}

impl ApplyHandle {
    /// Takes over the machine.
    pub(crate) fn start(
        machine: Machine,
        mode: &WriterMode,
        diverged: bool,
        measures: &Arc<Measures>,
        hub: Arc<Hub>,
    ) -> io::Result<(Arc<Self>, Progress)> {
        let membership = watch::Sender::new(Arc::new(durable_membership(machine.durable())?));
        let applied_next = watch::Sender::new(next_index(machine.position()));
        let durable = watch::Sender::new(machine.durable().clone());
        let checkpoint = watch::Sender::new(
            machine
                .durable()
                .position
                .map_or(0, |position| position.index),
        );
        let diverged = watch::Sender::new(diverged);
        let fault = watch::Sender::new(None);
        let dirty = Arc::new(AtomicBool::new(false));
        let progress = Progress {
            applied_next: applied_next.subscribe(),
            durable: durable.subscribe(),
            dirty: Arc::clone(&dirty),
            checkpoint: checkpoint.subscribe(),
            membership: membership.subscribe(),
            diverged: diverged.subscribe(),
            fault: fault.subscribe(),
        };
        let policy = Arc::clone(machine.policy());
        let applier = |flusher| Applier {
            machine,
            membership,
            flushes: Flushes {
                flusher,
                failed: None,
            },
            stopped: false,
            applied_next,
            durable,
            dirty,
            checkpoint,
            diverged,
            fault,
            policy,
            hub,
            changed: Vec::new(),
        };
        let handle = match mode {
            WriterMode::Thread => Self::start_threads(applier, measures)?,
            WriterMode::Task(pace) => Self::start_task(applier, pace, measures),
        };
        Ok((handle, progress))
    }

    fn start_threads(
        applier: impl FnOnce(Flusher) -> Applier,
        measures: &Arc<Measures>,
    ) -> io::Result<Arc<Self>> {
        let measures = Arc::clone(measures);
        let (jobs, queue) = mpsc::channel::<Job>();
        let (flush_sender, flush_queue) = mpsc::channel::<FlushJob>();
        let (result_sender, results) = mpsc::channel();
        let nudge = jobs.clone();
        let flusher = std::thread::Builder::new()
            .name("checkpoint".into())
            .spawn(move || run_flushes(&flush_queue, &result_sender, &nudge, &measures))?;
        let mut applier = applier(Flusher::Thread {
            jobs: flush_sender,
            results,
            pending: false,
        });
        let apply = std::thread::Builder::new()
            .name("apply".into())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                while let Ok(job) = queue.recv() {
                    job(&mut applier);
                    if applier.stopped {
                        break;
                    }
                }
            })?;
        Ok(Arc::new(Self {
            runner: Runner::Thread(jobs),
            threads: Mutex::new(vec![apply, flusher]),
        }))
    }

    fn start_task(
        applier: impl FnOnce(Flusher) -> Applier,
        pace: &Pace,
        measures: &Arc<Measures>,
    ) -> Arc<Self> {
        let wake = Arc::new(Notify::new());
        let applier = applier(Flusher::Task {
            job: None,
            wake: Arc::clone(&wake),
            measures: Arc::clone(measures),
        });
        let handle = Arc::new(Self {
            runner: Runner::Task {
                applier: Box::new(tokio::sync::Mutex::new(applier)),
                pace: pace.clone(),
            },
            threads: Mutex::default(),
        });
        // It ends with its handle: a task that is never woken again costs nothing.
        let (weak, pace) = (Arc::downgrade(&handle), pace.clone());
        tokio::spawn(async move {
            loop {
                wake.notified().await;
                pace.take_time(Work::Checkpoint).await;
                let Some(handle) = weak.upgrade() else { return };
                drop(handle.run(Applier::take_finished_flush).await);
            }
        });
        handle
    }

    /// Runs a function on the machine's thread, after everything that was asked before.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        function: impl FnOnce(&mut Applier) -> T + Send + 'static,
    ) -> Result<T, ApplyFault> {
        match &self.runner {
            Runner::Task { applier, pace } => {
                let mut applier = applier.lock().await;
                pace.take_time(Work::Apply).await;
                Ok(function(&mut applier))
            }
            Runner::Thread(jobs) => {
                let (sender, receiver) = oneshot::channel();
                let job = Box::new(move |applier: &mut Applier| {
                    // Whoever asked may have gone away.
                    drop(sender.send(function(applier)));
                });
                let stopped = || ApplyFault("the apply thread has stopped".into());
                jobs.send(job).map_err(|_| stopped())?;
                receiver.await.map_err(|_| stopped())
            }
        }
    }

    /// Ends the threads and waits until they have ended. What was asked before is still done;
    /// what is asked later fails.
    pub(crate) fn stop(&self) {
        if let Runner::Thread(jobs) = &self.runner {
            drop(jobs.send(Box::new(|applier| applier.stopped = true)));
        }
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("the apply thread panicked");
            }
        }
    }
}

/// Writes a checkpoint to disk.
fn flush(job: FlushJob, measures: &Measures) -> Result<Flushed, Fault> {
    let begun = Instant::now();
    let flushed = job.run();
    measures.checkpoint.observe(begun.elapsed());
    flushed
}

fn run_flushes(
    queue: &mpsc::Receiver<FlushJob>,
    results: &mpsc::Sender<Result<Flushed, Fault>>,
    nudge: &mpsc::Sender<Job>,
    measures: &Measures,
) {
    while let Ok(job) = queue.recv() {
        let result = flush(job, measures);
        // The apply thread ends before this one.
        if results.send(result).is_err() {
            return;
        }
        drop(nudge.send(Box::new(Applier::take_finished_flush)));
    }
}

impl Applier {
    /// The last entry applied, and the members then.
    pub(crate) fn applied(&self) -> (Option<Position>, StoredMembership) {
        (
            self.machine.position(),
            (**self.membership.borrow()).clone(),
        )
    }

    /// What is on disk, and the members then.
    pub(crate) fn durable(&self) -> io::Result<(Option<Position>, StoredMembership)> {
        let durable = self.machine.durable();
        Ok((durable.position, durable_membership(durable)?))
    }

    /// The last durable checkpoint as chunks, with the members then.
    pub(crate) fn snapshot(&self) -> Result<Option<(SnapshotReader, StoredMembership)>, io::Error> {
        let reader = self.machine.snapshot().map_err(ApplyFault::from)?;
        let (_, membership) = self.durable()?;
        Ok(reader.map(|reader| (reader, membership)))
    }

    /// Applies entries in order, answering those who wait.
    pub(crate) fn apply(&mut self, items: Vec<Item>) -> Result<(), ApplyFault> {
        if let Some(fault) = &self.flushes.failed {
            return Err(fault.clone());
        }
        let mut answers = Vec::new();
        let mut commands = 0;
        for (entry, responder) in items {
            let applied = self
                .apply_one(entry)
                .inspect_err(|fault| self.stop(fault))?;
            commands += applied.outcomes.len();
            if let Some(responder) = responder {
                answers.push((responder, applied));
            }
            if commands >= PUBLISH_COMMANDS {
                commands = 0;
                self.publish(&mut answers);
            }
        }
        self.publish(&mut answers);
        Ok(())
    }

    /// First everybody can see what was applied, then those who wait are told.
    fn publish(&mut self, answers: &mut Vec<(ApplyResponder<TypeConfig>, Applied)>) {
        self.machine.publish();
        let next = next_index(self.machine.position());
        self.hub
            .publish(self.changed.drain(..), Revision::start_of(next));
        if !Arc::ptr_eq(&self.policy, self.machine.policy()) {
            self.policy = Arc::clone(self.machine.policy());
            self.hub.wake_all();
        }
        self.applied_next.send_replace(next);
        for (responder, applied) in answers.drain(..) {
            responder.send(applied);
        }
    }

    fn apply_one(&mut self, entry: LogEntry) -> Result<Applied, ApplyFault> {
        observe::applying(&entry);
        let position = position(&entry.log_id);
        let input = match entry.payload {
            EntryPayload::Blank => return self.apply_input(position, Input::Blank),
            EntryPayload::Membership(membership) => {
                observe::membership(position.index, &membership);
                let membership = StoredMembership::new(Some(entry.log_id), membership);
                let bytes = codec::encode(&membership);
                self.membership.send_replace(Arc::new(membership));
                self.dirty.store(true, Ordering::Relaxed);
                return self.apply_input(position, Input::Membership(&bytes));
            }
            EntryPayload::Normal(payload) => payload.take_entry().map_err(|error| {
                ApplyFault(format!("log entry {}: {error}", position.index).into())
            })?,
        };
        let checkpoint = matches!(input, hostd_protocol::Entry::Checkpoint { .. });
        if checkpoint {
            self.await_flush()?;
        }
        let applied = self.apply_input(position, Input::Entry(input))?;
        self.dirty.store(!checkpoint, Ordering::Relaxed);
        if checkpoint {
            self.checkpoint.send_replace(position.index);
        }
        Ok(applied)
    }

    fn apply_input(&mut self, position: Position, input: Input<'_>) -> Result<Applied, ApplyFault> {
        let mut applied = self.machine.apply(position, input)?;
        self.changed.append(&mut applied.changed);
        observe::applied(position, self.machine.time(), self.machine.rules());
        if applied.diverged {
            tracing::error!(
                index = position.index,
                "this node's state differs from the majority's at the previous checkpoint"
            );
            self.quarantine();
        }
        if let Some(job) = applied.flush {
            self.flushes.flusher.start(job)?;
        }
        Ok(Applied {
            outcomes: applied.outcomes,
        })
    }

    /// Waits for the flush that is under way, if one is.
    fn await_flush(&mut self) -> Result<(), ApplyFault> {
        if let Some(flushed) = self.flushes.flusher.wait()? {
            self.take_flushed(flushed);
        }
        Ok(())
    }

    fn take_finished_flush(&mut self) {
        // It may have been taken already, by a checkpoint that waited for it.
        match self.flushes.flusher.finished() {
            Some(Ok(flushed)) => {
                self.take_flushed(flushed);
                // An idle node would otherwise keep the changes in memory as well.
                self.machine.publish();
            }
            Some(Err(fault)) => {
                let fault = ApplyFault::from(fault);
                self.stop(&fault);
                self.flushes.failed = Some(fault);
            }
            None => {}
        }
    }

    fn take_flushed(&mut self, flushed: Flushed) {
        self.machine.flushed(flushed);
        let durable = self.machine.durable().clone();
        if let Some(position) = durable.position {
            observe::checkpoint(position.index, &durable.digest);
        }
        self.durable.send_replace(durable);
    }

    /// Replaces the whole state by the snapshot in a spool file.
    pub(crate) fn install(&mut self, wanted: Position, spool: &Path) -> Result<(), ApplyFault> {
        let installed = self.install_spool(wanted, spool);
        if let Err(fault) = &installed {
            self.stop(fault);
        }
        installed
    }

    fn install_spool(&mut self, wanted: Position, spool: &Path) -> Result<(), ApplyFault> {
        self.await_flush()?;
        let chunks = spool::read(spool).map_err(InstallError::from);
        chunks
            .and_then(|chunks| self.machine.install(wanted, chunks))
            .map_err(|error| ApplyFault(format!("snapshot: {error}").into()))?;
        let durable = self.machine.durable().clone();
        let membership =
            durable_membership(&durable).map_err(|error| ApplyFault(error.to_string().into()))?;
        self.membership.send_replace(Arc::new(membership));
        self.checkpoint
            .send_replace(durable.position.map_or(0, |position| position.index));
        self.dirty.store(false, Ordering::Relaxed);
        self.diverged.send_replace(false);
        if let Some(position) = durable.position {
            observe::installed(position.index, &durable.digest);
        }
        self.durable.send_replace(durable);
        let next = next_index(self.machine.position());
        self.hub.begin_anew(Revision::start_of(next));
        self.applied_next
            .send_replace(next_index(self.machine.position()));
        Ok(())
    }

    /// Takes in that the state is wrong.
    pub(crate) fn quarantine(&self) {
        if planted::active(Bug::IgnoreDivergence) {
            return;
        }
        observe::quarantined();
        self.diverged.send_replace(true);
        self.hub.cut_all(crate::quarantined());
    }

    fn stop(&self, fault: &ApplyFault) {
        tracing::error!(%fault, "this node cannot apply the log any more");
        self.fault.send_replace(Some(fault.to_string()));
        self.hub.cut_all(Failure::new(
            FailureCode::Fault,
            "this node cannot apply the log any more; watch another",
        ));
    }
}

/// A log id as the machine has it.
pub(crate) fn position(log_id: &crate::types::LogId) -> Position {
    let (term, index) = crate::types::term_and_index(log_id);
    Position { term, index }
}

/// A position as Raft has it.
pub(crate) fn position_log_id(position: Position) -> crate::types::LogId {
    log_id(position.term, position.index)
}

fn next_index(position: Option<Position>) -> u64 {
    position.map_or(0, |position| position.index + 1)
}

fn durable_membership(durable: &Durable) -> io::Result<StoredMembership> {
    match &durable.membership {
        None => Ok(StoredMembership::default()),
        Some(bytes) => codec::decode(bytes).map_err(|error| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the state's membership: {error}"),
            )
        }),
    }
}
