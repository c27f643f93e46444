//! What the replicated log carries. The log and the state at a checkpoint are the only inputs
//! of the machine, so everything a command may depend on is in here.

use serde::{Deserialize, Serialize};

use crate::{Limits, PluginChange, PolicyChange, TimeNs, TokenChange};

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
    /// Makes a plugin part of the cluster, as a node does with those that it was started with. A
    /// plugin of the same name and digest is a no-op, another version of one that is there is
    /// refused.
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
    /// Changes the plugins, or limits.
    Plugin {
        /// Who asked.
        principal: String,
        /// What is changed.
        change: PluginChange,
    },
    /// Does a bounded piece of the work that lies ahead: the next step of each migration, the
    /// next rows of a state that nobody has any more.
    Work,
    /// From here on the rules of another engine are followed, as after a rolling upgrade of hostd. Only
    /// forward: one with older rules, or the same, is a no-op.
    Engine {
        /// The engine that every replica must have from here on.
        engine: EngineIdentity,
    },
    /// Changes who may do what. Logged under rules 6 and later.
    Policy {
        /// Who asked.
        principal: String,
        /// What is changed.
        change: PolicyChange,
    },
    /// Changes the join tokens, or uses one up.
    Token {
        /// Who asked; nobody for a use, which whoever has the token asks for.
        principal: String,
        /// What is changed.
        change: TokenChange,
    },
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
///
/// A cluster has that of the hostd that founded it, until every member can honour a newer one and
/// [`Command::Engine`] is logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineIdentity {
    /// wasmtime's version.
    pub wasmtime: String,
    /// The target triple: the depth at which a stack overflows depends on compiled code.
    pub target: String,
    /// The version of hostd's own rules: fuel of host calls, generator, state layout. It rises with
    /// every identity, whatever else of it changes.
    pub rules: u32,
}

impl std::fmt::Display for EngineIdentity {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            wasmtime,
            target,
            rules,
        } = self;
        write!(
            formatter,
            "wasmtime {wasmtime} on {target} with rules {rules}"
        )
    }
}
