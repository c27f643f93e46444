//! What the replicated log carries. The log and the state at a checkpoint are the only inputs
//! of the machine, so everything a command may depend on is in here.

use serde::{Deserialize, Serialize};

use crate::TimeNs;

/// One log entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// Commands that were waiting together, applied in order.
    Batch(Batch),
    /// Every replica drops its plugin instances, freezes its state and writes it to disk.
    Checkpoint {
        /// The leader's clock.
        time: TimeNs,
        /// The leader's own previous checkpoint, for comparison; `None` when it has none yet.
        previous: Option<CheckpointDigest>,
    },
}

/// The digest of the whole state at one checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointDigest {
    /// Log index of the checkpoint entry.
    pub index: u64,
    /// Digest of the state after it.
    pub digest: [u8; 32],
}

/// Commands with the time and the seed that the leader gave them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// The leader's wall clock. The command at position `i` runs at the greater of `time + i` and
    /// one nanosecond after the command before it.
    pub time: TimeNs,
    /// Operating-system entropy of the leader. The generator of the command at position `i` is
    /// seeded with a hash of this and `i`.
    pub seed: [u8; 16],
    /// The commands.
    pub commands: Vec<Command>,
}

/// One command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// The cluster's first command: fixes what every replica must agree on.
    Found {
        /// The cluster's random identity, in hexadecimal.
        cluster: String,
        /// The engine that every replica must have.
        engine: EngineIdentity,
        /// Limits that every replica enforces.
        limits: Limits,
    },
    /// Makes a plugin part of the cluster. A plugin of the same name and digest is a no-op.
    Install {
        /// Who asked.
        principal: String,
        /// The component's bytes.
        #[serde(with = "serde_bytes")]
        component: Vec<u8>,
    },
    /// Calls a write command of a plugin.
    Call {
        /// Who asked: the client certificate's common name, or another door's identity.
        principal: String,
        /// The plugin's name; `None` when the command's name alone is meant to be unique.
        plugin: Option<String>,
        /// The command's name, in any case.
        command: String,
        /// Arguments as the client wrote them.
        arguments: Vec<serde_bytes::ByteBuf>,
        /// How a retry of this command is recognised.
        once: Option<Once>,
    },
    /// Opens a session for exactly-once calls. Its outcome is the session's number.
    OpenSession {
        /// Who asked.
        principal: String,
    },
    /// Ends a session and forgets its outcomes.
    CloseSession {
        /// Who asked; only the session's owner may close it.
        principal: String,
        /// The session's number.
        session: u64,
    },
    /// Fires timers that are due at this command's time, earliest first, up to a bound.
    Wake,
}

/// Size of an idempotency key.
pub const ONCE_KEY_BYTES_MAX: usize = 256;

/// How a retry is recognised, so that a command takes effect once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Once {
    /// Within a session that the client opened.
    Session {
        /// The session's number, from [`Command::OpenSession`].
        session: u64,
        /// The command's number within the session, from 1.
        sequence: u64,
        /// The client has the replies of all commands up to this one; they can be forgotten.
        acknowledged: u64,
    },
    /// By a key that the caller chose, per principal; at most [`ONCE_KEY_BYTES_MAX`] long.
    Key(String),
}

/// What must be equal on every replica for the same code to compute the same result and the
/// same fuel. A node that cannot honour the cluster's identity refuses to apply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineIdentity {
    /// wasmtime's version.
    pub wasmtime: String,
    /// The target triple: the depth at which a stack overflows depends on compiled code.
    pub target: String,
    /// The version of hostd's own rules: fuel of host calls, generator, state layout.
    pub rules: u32,
}

/// Bounds that every replica enforces alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Fuel that one command may use; about one unit a WebAssembly instruction.
    pub fuel_per_command: u64,
    /// Linear memory that one plugin instance may have.
    pub memory_bytes_max: u64,
    /// Size of all arguments of a command together, each counted with 32 bytes for itself.
    pub arguments_bytes_max: u64,
    /// Size of a reply.
    pub reply_bytes_max: u64,
    /// Size of a key in a plugin's state.
    pub key_bytes_max: u64,
    /// Size of a value in a plugin's state.
    pub value_bytes_max: u64,
    /// Size of a plugin's component.
    pub component_bytes_max: u64,
    /// Plugins that a cluster may have.
    pub plugins_max: u64,
    /// Size of all changes since the last checkpoint, which are kept in memory. A command that
    /// would go beyond is rejected until the next checkpoint.
    pub overlay_bytes_max: u64,
    /// A session that was not used for this long is forgotten.
    pub session_idle_ns_max: u64,
    /// Sessions that are kept at the same time; the least recently used goes first.
    pub sessions_max: u64,
    /// An idempotency key is kept for this long, and no shorter: forgotten early, its command
    /// would run a second time.
    pub key_age_ns_max: u64,
    /// Idempotency keys that are kept at the same time, half of them for one principal at most.
    pub keys_max: u64,
    /// Unacknowledged commands in one session.
    pub session_window: u64,
    /// Bytes of replies kept for retries, over all sessions and keys; the oldest are forgotten
    /// first.
    pub session_reply_bytes_max: u64,
    /// Timers that one [`Command::Wake`] fires at most.
    pub timers_per_wake: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fuel_per_command: 100_000_000,
            memory_bytes_max: 64 << 20,
            arguments_bytes_max: 16 << 20,
            reply_bytes_max: 16 << 20,
            key_bytes_max: 4 << 10,
            value_bytes_max: 8 << 20,
            component_bytes_max: 16 << 20,
            plugins_max: 64,
            overlay_bytes_max: 512 << 20,
            session_idle_ns_max: 3_600_000_000_000,
            sessions_max: 100_000,
            key_age_ns_max: 600_000_000_000,
            keys_max: 1_000_000,
            session_window: 4_096,
            session_reply_bytes_max: 64 << 20,
            timers_per_wake: 256,
        }
    }
}
