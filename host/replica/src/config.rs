//! What a replica is told when it is opened.

use std::{path::PathBuf, sync::Arc, time::Duration};

use hostd_machine::Machine;
use hostd_protocol::{Limits, NodeId, TimeNs};
use openraft::{ConfigError, SnapshotPolicy, StepDownPolicy};

pub use crate::propose::ProposeLimits;
use crate::room::MeasureRoom;
use crate::{log_file::LogDisk, pace::WriterMode};

/// A replica's settings.
#[derive(Clone, Debug)]
pub struct ReplicaConfig {
    /// This node's number.
    pub id: NodeId,
    /// `host:port` that the others dial.
    pub address: String,
    /// Where the log writer, the apply thread and the checkpoints run.
    pub mode: WriterMode,
    /// Heartbeats and elections.
    pub timing: Timing,
    /// When checkpoints are made.
    pub checkpoint: CheckpointPolicy,
    /// Bounds of the queue in front of Raft.
    pub propose: ProposeLimits,
    /// What the cluster starts with, if this node's leadership is its first.
    pub founding: Founding,
    /// Directory for snapshots that are being received; on the disk of the state.
    pub spool: PathBuf,
    /// Directory for snapshots that are kept.
    pub snapshots: PathBuf,
    /// The machine's database, named in messages; its size counts as the node's data size.
    pub state_file: PathBuf,
    /// The log's database, named and counted likewise.
    pub log_file: PathBuf,
    /// If the cluster has a member of this number with another directory, this node takes its place:
    /// that one's data is gone for good.
    pub replaces: bool,
    /// Size of the newest changes that are kept for watchers, in memory and on disk.
    pub watch_bytes: usize,
    /// How long a call is held while there is no leader, or the leader has no majority, before
    /// its caller is told so.
    pub unavailable_after: Duration,
}

/// What a replica is made of.
pub struct ReplicaParts<T> {
    /// Where the log is.
    pub log: LogDisk,
    /// The machine, open.
    pub machine: Machine,
    /// The way to other nodes.
    pub transport: Arc<T>,
    /// The wall clock.
    pub clock: Clock,
    /// The operating system's entropy.
    pub entropy: Entropy,
    /// How much room is left for log and state.
    pub room: MeasureRoom,
}

/// Tells the time, in nanoseconds since the Unix epoch.
pub type Clock = Arc<dyn Fn() -> TimeNs + Send + Sync>;

/// Fills a buffer with unpredictable bytes.
pub type Entropy = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

impl<T> std::fmt::Debug for ReplicaParts<T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ReplicaParts")
            .field("log", &self.log)
            .field("machine", &self.machine)
            .finish_non_exhaustive()
    }
}

/// What the first leader of a cluster gives it.
#[derive(Clone, Debug)]
pub struct Founding {
    /// The cluster's identity.
    pub cluster: String,
    /// Limits that every replica enforces.
    pub limits: Limits,
}

/// Heartbeats and elections. A leader that stops is replaced after about
/// `election_max + (election_min..election_max)` of silence.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Between two heartbeats.
    pub heartbeat: Duration,
    /// Shortest election timeout.
    pub election_min: Duration,
    /// Longest election timeout, and how long a follower is faithful to a silent leader.
    pub election_max: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(150),
            election_min: Duration::from_millis(400),
            election_max: Duration::from_millis(600),
        }
    }
}

/// When the leader proposes a checkpoint.
#[derive(Clone, Copy, Debug)]
pub struct CheckpointPolicy {
    /// After so many bytes of log.
    pub bytes: u64,
    /// After so long, if anything was applied since the last one.
    pub interval: Duration,
    /// Bytes of the newest entries that stay in memory, and in the log behind a checkpoint: a
    /// follower that lacks no more than these needs no snapshot.
    pub tail_bytes: usize,
}

impl Default for CheckpointPolicy {
    fn default() -> Self {
        Self {
            bytes: 16 << 20,
            interval: Duration::from_secs(30),
            tail_bytes: 16 << 20,
        }
    }
}

impl Timing {
    /// openraft's settings.
    pub(crate) fn raft_config(&self) -> Result<openraft::Config, ConfigError> {
        let ms = |duration: Duration| duration.as_millis() as u64;
        openraft::Config {
            cluster_name: "hostd".into(),
            heartbeat_interval: ms(self.heartbeat),
            election_timeout_min: ms(self.election_min),
            election_timeout_max: ms(self.election_max),
            // A node that cannot win must not disturb those that can.
            enable_pre_vote: Some(true),
            // A restarted leader may lack what it had applied: it must be elected anew.
            enable_leader_restore: Some(false),
            // A leader that lost its majority falls silent for a while, so that those who can
            // still reach each other may elect another.
            quorum_loss_probe_interval: Some(2 * ms(self.election_max) + ms(self.heartbeat)),
            // The replica says when: after a checkpoint is durable.
            snapshot_policy: SnapshotPolicy::Never,
            // And how much log to keep behind it.
            max_in_snapshot_log_to_keep: u64::MAX,
            // Entries are batches; a message is bounded by bytes.
            max_payload_entries: 1024,
            install_snapshot_timeout: ms(SNAPSHOT_TIMEOUT),
            removed_leader_step_down: StepDownPolicy::After(ms(self.heartbeat)),
            // Only while a node cannot be reached; a connection from it ends the wait.
            backoff: "50ms 100ms 200ms ...500ms".into(),
            ..openraft::Config::default()
        }
        .validate()
    }
}

/// How long one snapshot may take, start to end.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_mins(30);
