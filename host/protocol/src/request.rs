//! What clients ask and what they get, on a QUIC connection with ALPN [`crate::ALPN_CLIENT`].
//!
//! A client opens one bidirectional stream and sends frames (see [`crate::codec`]), each a
//! postcard-encoded `(u64 request id, Request)`. The node answers each, in any order, with
//! `(u64 request id, Result<Response, CallError>)`. Ids are the client's to choose, unique among
//! those in flight.

use std::fmt;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_bytes::ByteBuf;

use crate::{
    ClockInfo, DryRun, Limits, LogPage, Member, NodeId, NodeStatus, Once, PluginChange,
    PluginDescription, PluginInfo, Policy, PolicyChange, RaftInfo, Reply, SnapshotInfo,
    SnapshotRequest, TokenInfo, TokenRequest, Verified, Watch, WatchItem,
};

/// Arguments that a call may have.
pub const ARGUMENTS_MAX: usize = 65_536;

/// A client's request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Call a plugin's command. Answered by [`Response::Reply`].
    Call(Call),
    /// Open a session for exactly-once calls. Answered by [`Response::Session`].
    OpenSession,
    /// End a session. Answered by [`Response::Done`].
    CloseSession {
        /// The session's number.
        session: u64,
    },
    /// Every plugin's description. Answered by [`Response::Commands`].
    Commands,
    /// The state of this node, or of every member it can reach. Answered by
    /// [`Response::Status`].
    Status {
        /// Ask the other members too.
        all: bool,
    },
    /// The members as this node knows them. Answered by [`Response::Members`].
    Members,
    /// Change the membership. Answered by [`Response::Done`].
    Member(MemberChange),
    /// Change the plugins or limits. Answered by [`Response::Reply`].
    Plugin {
        /// What to change.
        change: PluginChange,
        /// How long the node may take before it answers `timeout`, in milliseconds.
        timeout_ms: u32,
    },
    /// Every plugin with its versions, and the limits. Answered by [`Response::Plugins`].
    Plugins,
    /// A piece of the answering node's log. Answered by [`Response::Log`].
    Log {
        /// Index of the first entry; the first that the node has when it is earlier.
        from: u64,
        /// Only what concerns this plugin.
        plugin: Option<String>,
        /// How many lines at most.
        count: u32,
    },
    /// Try a version on the last logged calls of its plugin, on the answering node alone and without
    /// any effect. Answered by [`Response::DryRun`].
    DryRun {
        /// The component.
        #[serde(with = "serde_bytes")]
        component: Vec<u8>,
        /// How many calls at most.
        last: u32,
    },
    /// Make a checkpoint, and compare the states of all members at it, row by row where they differ.
    /// Answered by [`Response::Verified`].
    Verify {
        /// How long the node may take, in milliseconds.
        timeout_ms: u32,
    },
    /// Call a command that only reads. Answered by [`Response::Read`], or by [`Response::Writes`]
    /// when it writes.
    Read(Call),
    /// Who may do what. Answered by [`Response::Policy`].
    Policy,
    /// Change who may do what. Answered by [`Response::Reply`]: the rules that came or went, as text.
    ChangePolicy {
        /// What to change.
        change: PolicyChange,
        /// How long the node may take before it answers `timeout`, in milliseconds.
        timeout_ms: u32,
    },
    /// About the snapshots that the answering node keeps. Answered by [`Response::Snapshots`] or
    /// [`Response::SnapshotPiece`].
    Snapshot(SnapshotRequest),
    /// What the answering node counts and measures. Answered by [`Response::Metrics`].
    Metrics,
    /// Log an entry without any effect, and wait until the answering node has applied it and all
    /// before. Answered by [`Response::Done`].
    Barrier {
        /// How long the node may take before it answers `timeout`, in milliseconds.
        timeout_ms: u32,
    },
    /// The answering node's part in Raft, also while it applies nothing. Answered by
    /// [`Response::Raft`].
    Raft,
    /// The answering node's replicated clock. Answered by [`Response::Clock`].
    Clock,
    /// About join tokens. Answered by [`Response::Done`] or [`Response::Tokens`].
    Token(TokenRequest),
    /// Watch changes. The first and only request of its stream; answered by [`Response::Watched`]
    /// again and again.
    Watch(Watch),
}

/// A call of a plugin's command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The plugin's name; needed where two plugins share the command's name.
    pub plugin: Option<String>,
    /// The command's name, in any case.
    pub command: String,
    /// The arguments, at most [`ARGUMENTS_MAX`].
    #[serde(deserialize_with = "arguments")]
    pub arguments: Vec<ByteBuf>,
    /// How fresh a read must be. Ignored for writes.
    pub consistency: Consistency,
    /// How a retry of a write is recognised. Ignored for reads.
    pub once: Option<Once>,
    /// How long the node may take before it answers `timeout`, in milliseconds.
    pub timeout_ms: u32,
}

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Consistency {
    /// Sees every write acknowledged before the read began.
    #[default]
    Linearizable,
    /// Sees the node's own state as it is now, however old.
    Stale,
}

/// A change of the membership.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberChange {
    /// Add a node that is, or soon will be, listening at `address`.
    Add {
        /// The node's number.
        node: NodeId,
        /// `host:port` that the others dial.
        address: String,
        /// Stay a learner instead of becoming a voter once in sync.
        learner: bool,
    },
    /// Make a learner a voter. Refused while it lags.
    Promote(NodeId),
    /// Make a voter a learner.
    Demote(NodeId),
    /// Remove a node for good.
    Remove(NodeId),
    /// Hand leadership to this voter, or to the most up-to-date one.
    Transfer(Option<NodeId>),
}

/// A node's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Response {
    /// A command's reply.
    Reply(Reply),
    /// The number of the session that was opened.
    Session(u64),
    /// Done.
    Done,
    /// Every installed plugin's description, sorted by name.
    Commands(Vec<PluginDescription>),
    /// One status per member, sorted by node.
    Status(Vec<NodeStatus>),
    /// The members, sorted by node.
    Members(Vec<Member>),
    /// The plugins, sorted by name, and the limits of the cluster.
    Plugins(Vec<PluginInfo>, Box<Limits>),
    /// A piece of the log.
    Log(LogPage),
    /// How the version fared.
    DryRun(Box<DryRun>),
    /// What the comparison found.
    Verified(Box<Verified>),
    /// A read command's reply.
    Read {
        /// The reply.
        reply: Reply,
        /// Log index of the last entry that the reply takes account of.
        revision: u64,
    },
    /// The command that was only to read writes; nothing was done.
    Writes,
    /// Who may do what. Of secrets it has digests alone.
    Policy(Box<Policy>),
    /// Snapshots, oldest first.
    Snapshots(Vec<SnapshotInfo>),
    /// A part of a snapshot's file.
    SnapshotPiece(ByteBuf),
    /// In the text format of OpenMetrics 1.0, which Prometheus reads.
    Metrics(String),
    /// A node's part in Raft.
    Raft(Box<RaftInfo>),
    /// The replicated clock.
    Clock(ClockInfo),
    /// Join tokens, by id.
    Tokens(Vec<TokenInfo>),
    /// What a watcher is told next.
    Watched(WatchItem),
}

/// Reads a call's arguments and stops at the first too many: an empty one takes a byte on the wire
/// and two dozen in memory.
fn arguments<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<ByteBuf>, D::Error> {
    struct Bounded;

    impl<'de> Visitor<'de> for Bounded {
        type Value = Vec<ByteBuf>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(formatter, "at most {ARGUMENTS_MAX} arguments")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            let mut arguments = Vec::with_capacity(items.size_hint().unwrap_or(0).min(16));
            while let Some(argument) = items.next_element()? {
                if arguments.len() == ARGUMENTS_MAX {
                    return Err(A::Error::invalid_length(arguments.len() + 1, &self));
                }
                arguments.push(argument);
            }
            Ok(arguments)
        }
    }

    deserializer.deserialize_seq(Bounded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    #[test]
    fn a_call_with_too_many_arguments_is_not_decoded() {
        let call = |count| Call {
            plugin: None,
            command: "echo".into(),
            arguments: vec![ByteBuf::new(); count],
            consistency: Consistency::default(),
            once: None,
            timeout_ms: 0,
        };
        let most = call(ARGUMENTS_MAX);
        assert_eq!(codec::decode::<Call>(&codec::encode(&most)), Ok(most));
        let bytes = codec::encode(&call(ARGUMENTS_MAX + 1));
        assert!(codec::decode::<Call>(&bytes).is_err());
    }
}
