//! What a node stands on: everything it takes from the machine it runs on. A simulator brings its
//! own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use hostd_gateway::Doors;
use hostd_machine::{Engine, Fault, Machine, OpenError};
use hostd_pki::{Credentials, CurrentCredentials, Identity};
use hostd_protocol::TimeNs;
use hostd_replica::{
    CheckpointPolicy, Clock, Entropy, LogDisk, MeasureRoom, Room, WriterMode, once_free,
    open_database,
};

use crate::audit::AuditLog;
use crate::config::{Config, Pki};
use crate::data_dir::{DataDir, STATE_FILE};
use crate::node::StartError;

/// How much the state's file grows at once.
const STATE_GROWTH_BYTES: u64 = 1 << 20;

/// Disk, network, clock, entropy and threads of a node.
pub struct Ground {
    /// The node's own certificate and key, as they are at any moment.
    pub credentials: CurrentCredentials,
    /// Where clients and peers connect, and from where peers are dialled.
    pub doors: Doors,
    /// The machine, open.
    pub machine: Machine,
    /// The log's files.
    pub log: LogDisk,
    /// The wall clock.
    pub clock: Clock,
    /// Unpredictable bytes.
    pub entropy: Entropy,
    /// How much room is left on the disk.
    pub room: MeasureRoom,
    /// Threads, or tasks.
    pub mode: WriterMode,
    /// When checkpoints are made.
    pub checkpoint: CheckpointPolicy,
    /// Where it is noted who administered what, and who was refused.
    pub audit: AuditLog,
    /// The node's directory: files are named after it, and snapshots are received in it.
    pub directory: PathBuf,
}

impl Ground {
    /// The operating system's files, clock and entropy.
    pub(crate) async fn of_system(
        config: &Config,
        engine: Arc<Engine>,
        credentials: CurrentCredentials,
        doors: Doors,
        data: &DataDir,
    ) -> Result<Self, StartError> {
        if !config.sync {
            tracing::warn!(
                "--no-sync: writes are acknowledged before they are on disk; a power failure can lose them"
            );
        }
        let state_file = data.file(STATE_FILE);
        let damaged = |error: OpenError| StartError::State {
            path: state_file.clone(),
            detail: error.to_string(),
            damage: matches!(
                error,
                OpenError::Corrupt(_) | OpenError::Fault(Fault::Corrupt(_))
            ),
        };
        let backend = once_free(|| open_database(&state_file, config.sync, STATE_GROWTH_BYTES))
            .await
            .map_err(|error| damaged(OpenError::Storage(error.to_string())))?;
        let machine = Machine::open(engine, backend).map_err(damaged)?;
        let log = once_free(|| LogDisk::open(data.path(), config.sync))
            .await
            .map_err(|error| StartError::Log {
                detail: error.to_string(),
                damage: false,
            })?;
        Ok(Self {
            credentials,
            doors,
            machine,
            log,
            clock: Arc::new(wall_clock),
            entropy: system_entropy(),
            room: measure_room(data.path()),
            mode: WriterMode::Thread,
            checkpoint: CheckpointPolicy::default(),
            audit: AuditLog::open(data.path())?,
            directory: data.path().to_owned(),
        })
    }
}

/// The node's own certificate, as it is told where to find it.
pub(crate) fn credentials(config: &Config) -> Result<Credentials, StartError> {
    if let Pki::Directory(directory) = &config.pki {
        hostd_pki::provision(directory, config.node_id, &config.server_names())?;
    }
    let credentials = config.pki.files(config.node_id).load()?;
    for warning in credentials.warnings() {
        tracing::warn!("{warning}");
    }
    match credentials.identity() {
        Identity::Node { id, .. } if *id == config.node_id => Ok(credentials),
        found => Err(StartError::WrongCertificate {
            found: found.clone(),
            node: config.node_id,
        }),
    }
}

/// Unpredictable bytes of the operating system.
pub(crate) fn system_entropy() -> Entropy {
    Arc::new(|bytes: &mut [u8]| {
        getrandom::fill(bytes).expect("the operating system has entropy");
    })
}

/// Of the file system that has a directory.
fn measure_room(directory: &Path) -> MeasureRoom {
    let directory = directory.to_owned();
    Arc::new(move || {
        let found = fs4::statvfs(&directory).ok()?;
        Some(Room {
            free_bytes: found.available_space(),
            total_bytes: found.total_space(),
        })
    })
}

/// The operating system's wall clock. Before 1970 it reads 0; the replicated clock rises all the
/// same.
fn wall_clock() -> TimeNs {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as TimeNs)
}
