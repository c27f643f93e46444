//! The words every part of hostd shares: what a client asks ([`Request`]), what the log
//! carries ([`Entry`]), what a command answers ([`Reply`] or [`Rejection`]), and how each is
//! encoded ([`codec`]).
//!
//! This crate does no I/O and must not know who uses it: no sockets, no clock, no consensus,
//! no WebAssembly.

#![forbid(unsafe_code)]

pub mod codec;
pub mod description;
pub mod enroll;
pub mod entry;
pub mod error;
pub mod history;
pub mod json;
pub mod limits;
pub mod outcome;
pub mod plugin;
pub mod policy;
pub mod reply;
pub mod request;
pub mod revision;
mod shared;
pub mod show;
pub mod snapshot;
pub mod status;
pub mod verify;
pub mod watch;

pub use description::{
    Access, Argument, ArgumentKind, ArgumentType, CommandDescription, PluginDescription,
};
pub use enroll::{EnrollRequest, Enrolled, TokenChange, TokenInfo, TokenRequest};
pub use entry::{Batch, Command, EngineIdentity, Entry, ONCE_KEY_BYTES_MAX, Once};
pub use error::{CallError, Failure, FailureCode};
pub use history::{Difference, DryRun, LogLine, LogPage, Logged, WriteDifference, Written};
pub use limits::{LimitInfo, Limits};
pub use outcome::{Outcome, Rejection, RejectionCode};
pub use plugin::{
    Activated, FailedMigration, MigrationInfo, PluginChange, PluginInfo, UPLOAD_CHUNK_BYTES,
    VersionInfo,
};
pub use policy::{EVERYBODY, Grant, Policy, PolicyChange, ROOT, Rule, RuleError};
pub use reply::{REPLY_DEPTH_MAX, Reply};
pub use request::{ARGUMENTS_MAX, Call, Consistency, MemberChange, Request, Response};
pub use revision::{NoRevision, Revision};
pub use show::{hex, show, show_bytes};
pub use snapshot::{
    NO_SUCH_SNAPSHOT, NOTHING_NEW_TO_SNAPSHOT, SNAPSHOT_IN_PROGRESS, SNAPSHOT_PIECE_BYTES_MAX,
    SnapshotInfo, SnapshotRequest,
};
pub use status::{ClockInfo, Health, Member, NodeStatus, PluginStatus, RaftInfo, Role};
pub use verify::{DifferenceKind, KeyDifference, Verdict, Verified, VerifiedNode};
pub use watch::{Change, ChangeEvent, Changed, PresentKey, Start, Subject, Watch, WatchItem};

/// A node's number, 1 or more, chosen by its operator (`--node-id`) and never reused.
pub type NodeId = u64;

/// A point on the replicated clock: nanoseconds since the Unix epoch.
///
/// It is the leader's wall clock at the time it stamped the command, corrected so that it
/// strictly rises from command to command.
pub type TimeNs = u64;

/// ALPN protocol of client connections.
pub const ALPN_CLIENT: &[u8] = b"hostd/1";

/// ALPN protocol of connections between nodes.
pub const ALPN_PEER: &[u8] = b"hostd-peer/1";

/// Address a node listens on, and a client dials, when nothing else is said.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:11001";
