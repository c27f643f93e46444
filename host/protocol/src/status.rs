//! What a node tells about itself and about its cluster.

use serde::{Deserialize, Serialize};

use crate::{EngineIdentity, NodeId, TimeNs};

/// A member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The node's number.
    pub id: NodeId,
    /// `host:port` that others dial.
    pub address: String,
    /// Whether it counts in the quorum.
    pub voter: bool,
    /// Whether it is the leader, as the answering node knows.
    pub leader: bool,
}

/// What a node is doing in Raft's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Leads the present term.
    Leader,
    /// Follows and votes.
    Follower,
    /// Stands for election.
    Candidate,
    /// Follows without a vote.
    Learner,
    /// Has stopped, or could not be asked.
    Unknown,
}

/// Whether a node can do its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// It can.
    Ok,
    /// It applies more slowly than the leader commits, or is still catching up.
    Lagging,
    /// Its disk is almost full; as leader it takes no writes from clients.
    #[serde(rename = "no_space")]
    NoSpace,
    /// Its state differs from the majority's; it has stopped serving.
    Quarantined,
    /// It did not answer.
    Unreachable,
}

/// One row of `hostctl status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// The node's number.
    pub id: NodeId,
    /// `host:port` that others dial.
    pub address: String,
    /// hostd's version.
    pub version: String,
    /// The node's role.
    pub role: Role,
    /// Whether it is the leader.
    pub leader: bool,
    /// Raft's current term.
    pub term: u64,
    /// Index of the first entry that is still in its log: a node that lacks earlier ones needs a
    /// snapshot.
    pub first_log: u64,
    /// Index of the last entry in its log.
    pub last_log: u64,
    /// Index of the last entry applied to its state.
    pub applied: u64,
    /// Log index of its last durable checkpoint; 0 for none.
    pub checkpoint: u64,
    /// Digest of the state at `checkpoint`, in hexadecimal; empty for none.
    pub digest: String,
    /// The engine whose rules its last applied entry was run by; `None` before the founding, or when
    /// it did not answer.
    pub engine: Option<EngineIdentity>,
    /// The engines that it can honour, oldest first. The cluster goes over to a newer one by itself
    /// once every member can.
    pub honours: Vec<EngineIdentity>,
    /// Size of its two database files.
    pub data_bytes: u64,
    /// Whether it can do its work.
    pub health: Health,
    /// Whether it answered.
    pub reachable: bool,
    /// Installed plugins, sorted by name.
    pub plugins: Vec<PluginStatus>,
}

/// An installed plugin, as seen by one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginStatus {
    /// The plugin's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// BLAKE3 of its component, in hexadecimal.
    pub digest: String,
}

/// A node's part in Raft, as it knows by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RaftInfo {
    /// The node's number.
    pub id: NodeId,
    /// `host:port` that others dial.
    pub address: String,
    /// Its role.
    pub role: Role,
    /// Whether it counts in the quorum.
    pub voter: bool,
    /// The leader and its address, once this node knows one.
    pub leader: Option<(NodeId, String)>,
    /// Raft's current term.
    pub term: u64,
    /// Term and index of the last entry in its log.
    pub last_log: (u64, u64),
    /// Index of the last entry that it knows to be committed.
    pub committed: u64,
    /// Index of the last entry applied to its state.
    pub applied: u64,
    /// Term and index of the last entry in its newest durable checkpoint: what a snapshot holds.
    pub snapshot: (u64, u64),
    /// The members, sorted by node.
    pub members: Vec<Member>,
    /// Milliseconds since a leader was last heard; 0 on the leader, `None` as long as none was.
    pub last_contact_ms: Option<u64>,
}

/// The replicated clock, as a node has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockInfo {
    /// Time of the cluster's first command; `None` before the founding.
    pub founded: Option<TimeNs>,
    /// Time of the last command that the node has applied.
    pub last: TimeNs,
    /// The node's own wall clock.
    pub wall: TimeNs,
}
