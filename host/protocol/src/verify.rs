//! What a comparison of all nodes' states found.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::NodeId;

/// The states of all members at one checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// Log index of the checkpoint.
    pub checkpoint: u64,
    /// More than half of all members have the same state, so it is known who is right.
    pub majority: bool,
    /// One per member, sorted by number.
    pub nodes: Vec<VerifiedNode>,
}

/// A member's state at the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedNode {
    /// The node's number.
    pub id: NodeId,
    /// `host:port` that others dial.
    pub address: String,
    /// What was found.
    pub verdict: Verdict,
    /// Why, in a line, where the verdict needs one; empty otherwise.
    pub reason: String,
    /// How many rows it has on disk; 0 without an answer.
    pub rows: u64,
    /// Digest of those rows, computed anew, in hexadecimal; empty without an answer.
    pub digest: String,
    /// Digest that the node has kept up to date from changes alone, in hexadecimal; empty without an
    /// answer.
    pub kept: String,
    /// The node that it was compared with row by row.
    pub against: Option<NodeId>,
    /// The first differing key of each table that differs, what plugins keep first.
    pub differences: Vec<KeyDifference>,
}

/// What was found of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It has the state that most have.
    Agrees,
    /// It has another one; or nobody has a majority.
    Differs,
    /// Rows on its disk cannot be read, or fail their checksums.
    Damaged,
    /// It could be reached and has not answered in time.
    Silent,
    /// It could not be reached.
    Unreachable,
}

/// A key at which two states differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyDifference {
    /// The table: `data` for what plugins keep.
    pub table: String,
    /// The plugin, for what belongs to one.
    pub plugin: Option<String>,
    /// The key as the plugin has it, or in words for the machine's own.
    pub key: ByteBuf,
    /// What differs.
    pub kind: DifferenceKind,
    /// Index of the log entry that wrote the key on this node.
    pub here: Option<u64>,
    /// The same on the node that it was compared with.
    pub there: Option<u64>,
}

/// How two states differ at a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DifferenceKind {
    /// This node has no such key.
    Missing,
    /// Only this node has it.
    Extra,
    /// Its value is another one.
    Value,
    /// The same value, written by another command.
    Revision,
}
