//! What a node tells of the rows on its disk. Between the questions of one comparison it holds on to
//! the checkpoint, so that a large state can be compared while others are made.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use hostd_machine::{Audit, Rows, RowsQuestion};
use hostd_protocol::{Failure, FailureCode};
use tokio::time::{Duration, Instant, timeout_at};

use crate::{
    network::{Refusal, Tell},
    replica::Replica,
};

/// How long a checkpoint is held after the last question. While it is, the disk keeps what later ones
/// have replaced.
const HELD: Duration = Duration::from_secs(30);

/// Checkpoints that are held at a time: comparisons that are asked of several nodes at once.
const HELD_MAX: usize = 2;

/// How long a node may take to reach the checkpoint that it is asked about.
const REACH_MAX: Duration = Duration::from_secs(30);

/// Checkpoints by log index, with the time of the last question.
type Held = BTreeMap<u64, (Arc<Rows>, Instant)>;

/// What a replica keeps for comparisons.
pub(crate) struct Audits {
    pub(super) audit: Audit,
    /// One comparison at a time is led from here.
    pub(super) comparing: tokio::sync::Mutex<()>,
    /// One question at a time: each may read everything.
    reading: tokio::sync::Mutex<()>,
    held: Arc<Mutex<Held>>,
}

impl Audits {
    pub(crate) fn new(audit: Audit) -> Self {
        Self {
            audit,
            comparing: tokio::sync::Mutex::default(),
            reading: tokio::sync::Mutex::default(),
            held: Arc::default(),
        }
    }

    fn held(&self, checkpoint: u64) -> Option<Arc<Rows>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let (rows, used) = held.get_mut(&checkpoint)?;
        *used = Instant::now();
        Some(Arc::clone(rows))
    }

    fn hold(&self, checkpoint: u64, rows: &Arc<Rows>) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() == HELD_MAX {
            held.pop_first();
        }
        held.insert(checkpoint, (Arc::clone(rows), Instant::now()));
        // It does not keep a replica that is dropped.
        let weak = Arc::downgrade(&self.held);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(HELD).await;
                let Some(held) = weak.upgrade() else { return };
                let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
                match held.get(&checkpoint) {
                    Some((_, used)) if used.elapsed() < HELD => {}
                    _ => {
                        held.remove(&checkpoint);
                        return;
                    }
                }
            }
        });
    }
}

impl Replica {
    /// Answers a question about the rows on this node's disk at a checkpoint, once it is there.
    pub(crate) async fn rows_here(
        &self,
        checkpoint: u64,
        question: RowsQuestion,
        deadline: Instant,
    ) -> Result<Tell, Refusal> {
        let audits = &self.inner().audits;
        let rows = if let Some(rows) = audits.held(checkpoint) {
            rows
        } else {
            self.reach(checkpoint, deadline).await?;
            let rows = match audits.audit.latest() {
                Ok(rows) => Arc::new(rows),
                Err(fault) => return Ok(Tell::Damaged(fault.to_string())),
            };
            if rows.position().map(|position| position.index) != Some(checkpoint) {
                return Ok(Tell::Passed);
            }
            audits.hold(checkpoint, &rows);
            rows
        };
        let Ok(_turn) = timeout_at(deadline, audits.reading.lock()).await else {
            return Err(late("it reads its rows for somebody else"));
        };
        let answer = self
            .inner()
            .config
            .mode
            .beside(move || rows.answer(&question));
        match timeout_at(deadline, answer).await {
            Ok(Some(Ok(answer))) => Ok(Tell::Rows(Box::new(answer))),
            Ok(Some(Err(fault))) => Ok(Tell::Damaged(fault.to_string())),
            Ok(None) => Err(late("the thread that read died")),
            Err(_) => Err(late("it has not read all its rows in time")),
        }
    }

    /// Waits until this node's disk has a checkpoint.
    async fn reach(&self, checkpoint: u64, deadline: Instant) -> Result<(), Refusal> {
        let mut durable = self.inner().progress.durable.clone();
        let there = durable.wait_for(|durable| {
            durable
                .position
                .is_some_and(|position| position.index >= checkpoint)
        });
        match timeout_at(deadline.min(Instant::now() + REACH_MAX), there).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(late("it is stopping")),
            Err(_) => Err(late("it has not reached the checkpoint in time")),
        }
    }
}

fn late(why: &str) -> Refusal {
    Refusal::untouched(Failure::new(FailureCode::Timeout, why))
}
