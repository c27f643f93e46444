//! Opening a node's part of the cluster from its files.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use hostd_protocol::Revision;
use thiserror::Error;
use tokio::{sync::watch, time::Instant};

use super::{
    LastCheckpoint, Leadership, Raft, Replica, ReplicaInner, Running,
    leadership::{watch_faults, watch_leadership},
};
use crate::{
    apply::ApplyHandle,
    checkpoints,
    config::{ReplicaConfig, ReplicaParts},
    divergence,
    heard::Heard,
    log_store::{Fact, LogDatabase, LogStore, OpenLogError},
    log_writer::LogWriter,
    measure::{self, Measures},
    membership,
    network::{Core, Factory, PeerService, Transport},
    prepare::Prepared,
    propose::{Proposer, Stamp},
    read_index::ReadIndex,
    room::{self, MeasureRoom, Shortage},
    rules, slow_disk, spool,
    state_machine::StateMachine,
    timekeeper,
    types::{GROUP, Node, Standing},
    verify::Audits,
    watch::{Hub, guard},
};

/// Why a replica could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The log.
    #[error(transparent)]
    Log(#[from] OpenLogError),
    /// Log and state do not belong together.
    #[error("{0}")]
    Mismatch(String),
    /// The machine's thread, or a directory.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// Raft found what it cannot start from.
    #[error("{0}")]
    Raft(String),
}

impl Replica {
    /// Opens the log, brings the machine to where it was, and starts to take part. A new node
    /// does nothing more until it is told how to begin: see [`Replica::form`].
    pub async fn open<T: Transport>(
        config: ReplicaConfig,
        parts: ReplicaParts<T>,
    ) -> Result<Self, OpenError> {
        let ReplicaParts {
            log: disk,
            mut machine,
            transport,
            clock,
            entropy,
            room,
        } = parts;
        let random = || {
            let mut bytes = [0; 8];
            entropy(&mut bytes);
            u64::from_le_bytes(bytes)
        };
        spool::clean(&config.spool)?;
        let measures = Arc::<Measures>::default();
        let database = Arc::new(LogDatabase::open(disk, config.id, random)?);
        let writer = Arc::new(LogWriter::start(
            Arc::clone(&database),
            &config.mode,
            Arc::clone(&measures),
        )?);
        let log = LogStore::open(&database, &writer, GROUP, config.checkpoint.tail_bytes)?;
        check_together(&config, &log, &machine)?;

        let past = machine.keep_past(config.watch_bytes).map_err(|fault| {
            OpenError::Mismatch(format!("{}: {fault}", config.state_file.display()))
        })?;
        let next = machine.position().map_or(0, |position| position.index + 1);
        let hub = Hub::new(past, Revision::start_of(next), config.watch_bytes);
        let hub = Arc::new(hub);
        let views = machine.views();
        let rehearsals = machine.rehearsals();
        let audits = Audits::new(machine.audit());
        let (apply, progress) = ApplyHandle::start(
            machine,
            &config.mode,
            log.knows(Fact::Quarantined),
            &measures,
            Arc::clone(&hub),
        )?;
        let raft_config = config
            .timing
            .raft_config()
            .map_err(|error| OpenError::Raft(error.to_string()))?;
        let raft = Raft::build(
            config.id,
            Arc::new(raft_config),
            Factory(Arc::clone(&transport)),
            log.clone(),
            StateMachine::new(Arc::clone(&apply)),
        )
        .await
        .map_err(|error| OpenError::Raft(error.to_string()))?;

        let node = Node {
            address: config.address.clone(),
            incarnation: database.incarnation(),
            standing: Standing::Voter,
        };
        let boot = random();
        let proposer = Proposer::new(
            raft.clone(),
            Stamp {
                clock: Arc::clone(&clock),
                entropy,
            },
            config.propose,
            Arc::clone(&measures),
        );
        let last_checkpoint = Mutex::new(LastCheckpoint {
            index: 0,
            at: Instant::now(),
            logged_bytes: 0,
        });
        let inner = Arc::new(ReplicaInner {
            node: node.clone(),
            raft: raft.clone(),
            views,
            hub,
            progress,
            proposer,
            clock,
            changing: tokio::sync::Mutex::new(()),
            shortage: Shortage::default(),
            prepared: Prepared::default(),
            rehearsals,
            audits,
            enroller: OnceLock::new(),
            taking_snapshot: tokio::sync::Mutex::default(),
            measures,
            looking_back: tokio::sync::Mutex::default(),
            reads: ReadIndex::new(),
            log,
            writer,
            apply,
            asks: Box::new(Arc::clone(&transport)),
            last_checkpoint,
            leader_heard: Heard::default(),
            fault: watch::Sender::new(None),
            leadership: watch::Sender::new(Leadership::default()),
            tasks: Mutex::default(),
            config,
        });
        transport.start(PeerService::new(Core {
            id: inner.config.id,
            node,
            boot,
            replaces: inner.config.replaces,
            raft: raft.clone(),
            replica: Arc::downgrade(&inner),
            spool: inner.config.spool.clone(),
        }));
        Self::from_inner(Arc::clone(&inner)).start_tasks(room);
        raft.run();
        // Once Raft answers, what it knows of the members and the term is published.
        raft.is_initialized()
            .await
            .map_err(|error| OpenError::Raft(error.to_string()))?;
        Ok(Self {
            _running: Some(Arc::new(Running(Arc::clone(&inner)))),
            inner,
        })
    }

    fn start_tasks(&self, room: MeasureRoom) {
        let mut tasks = self
            .inner
            .tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        tasks.spawn(divergence::watch(self.clone()));
        tasks.spawn(checkpoints::follow(
            self.inner.raft.clone(),
            self.inner.log.clone(),
            self.inner.rehearsals.clone(),
            self.inner.progress.durable.clone(),
        ));
        tasks.spawn(timekeeper::run(self.clone()));
        tasks.spawn(rules::keep(self.clone()));
        tasks.spawn(membership::keep(self.clone()));
        tasks.spawn(membership::note_joined(self.clone()));
        tasks.spawn(membership::tell_vote(self.clone()));
        tasks.spawn(watch_leadership(self.clone()));
        tasks.spawn(watch_faults(self.clone()));
        tasks.spawn(measure::watch(self.clone()));
        tasks.spawn(slow_disk::watch(self.clone()));
        tasks.spawn(room::watch(self.clone(), room));
        tasks.spawn(guard(self.clone()));
    }
}

/// Refuses a log and a state that are not of the same past.
fn check_together(
    config: &ReplicaConfig,
    log: &LogStore,
    machine: &hostd_machine::Machine,
) -> Result<(), OpenError> {
    let (state_file, log_file) = (config.state_file.display(), config.log_file.display());
    let (purged, empty) = log.beginning();
    let state = machine.position().map(|position| position.index);
    if let Some(purged) = purged.filter(|_| purged > state) {
        let state = state.map_or("is missing or empty".into(), |index| {
            format!("reaches up to entry {index} only")
        });
        return Err(OpenError::Mismatch(format!(
            "{state_file} {state}, and {log_file} begins after entry {purged}: what is between is lost"
        )));
    }
    if empty && let Some(index) = state {
        return Err(OpenError::Mismatch(format!(
            "{log_file} is missing or empty, but {state_file} reaches up to entry {index}: this node \
             has lost its log and with it the promises it made"
        )));
    }
    Ok(())
}
