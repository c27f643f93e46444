//! What nodes say to each other.
//!
//! A node dials each peer it has something to say to and opens bidirectional streams on the
//! connection, all long-lived but the snapshot's. The first frame of a stream is an [`Opening`];
//! what follows is one kind of question and answer:
//!
//! ```text
//! control    heartbeats, votes, leadership transfer     answered in any order
//! append     log entries, one stream per log and peer   answered in order
//! forward    commands, read indexes, membership         answered in any order
//! snapshot   one snapshot                               answered once, at the end
//! ```
//!
//! Frames are those of [`hostd_protocol::codec`]. Every question names its Raft group, so that
//! several groups can share a connection.

use std::time::Duration;

use hostd_machine::{RowsAnswer, RowsQuestion};
use hostd_protocol::{
    Command, EngineIdentity, EnrollRequest, Enrolled, Failure, MemberChange, NodeId, NodeStatus,
    Outcome,
};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize};

use crate::types::{CommittedLeaderId, Node, Nodes, TypeConfig, Vote};

/// Version of everything in this module. Nodes of different versions do not talk, so a hostd that is to
/// take part in a rolling upgrade must keep it: what is new goes to the end of the enums here, and no
/// struct that travels gets another field, [`hostd_protocol::NodeStatus`] among them.
pub const PROTOCOL_VERSION: u32 = 3;

/// Who a node is, told once on each connection in both directions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL_VERSION`]. First, so that every version can read it.
    pub protocol: u32,
    /// hostd's version, for people.
    pub software: String,
    /// The node's number.
    pub node: NodeId,
    /// What the membership holds of this node.
    pub identity: Node,
    /// Random number of this process: a peer that sees a new one knows that all its connections
    /// to the old process are dead.
    pub boot: u64,
    /// The cluster's identity, once the node knows one.
    pub cluster: Option<String>,
    /// Log index of the newest membership that the node knows, if that names this very data
    /// directory. A peer whose own membership is older cannot judge who has the number today.
    pub seated_at: Option<u64>,
    /// It asks to take the place of the member that has its number.
    pub replaces: bool,
}

/// Why a node wants nothing to do with another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebuff {
    /// One line for a person.
    pub reason: String,
    /// Trying again changes nothing.
    pub final_word: bool,
}

impl Rebuff {
    /// It may be otherwise in a moment.
    pub(crate) fn for_now(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            final_word: false,
        }
    }

    /// It stays so.
    pub(crate) fn for_good(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            final_word: true,
        }
    }
}

/// The first frame of a stream.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Opening {
    /// The first stream of a connection. Answered by the other side's hello, or the reason why
    /// it wants nothing to do with this node: `Result<Hello, Rebuff>`.
    Control(Hello),
    /// Followed by `Question<AppendEntriesRequest>`.
    Append,
    /// Followed by `Question<Ask>`.
    Forward,
    /// Followed by a [`SnapshotHead`] and [`SnapshotPart`]s. Answered once.
    Snapshot,
}

/// A request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Question<T> {
    /// The Raft group that is asked.
    pub group: u64,
    /// Number on this stream, rising.
    pub id: u64,
    /// What is asked.
    pub body: T,
}

/// The answer to the question with the same number.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer<T> {
    /// The question's number.
    pub id: u64,
    /// The answer; or one line on why there is none.
    pub body: Result<T, String>,
}

/// What must not wait behind anything else.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub enum ControlAsk {
    /// A heartbeat.
    Heartbeat(AppendEntriesRequest<TypeConfig>),
    /// A vote.
    Vote(VoteRequest<TypeConfig>),
    /// Whether a vote would be given.
    PreVote(VoteRequest<TypeConfig>),
    /// Leadership passes to another node.
    Transfer(TransferLeaderRequest<TypeConfig>),
}

/// The answer to a [`ControlAsk`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub enum ControlTell {
    /// To a heartbeat.
    Heartbeat(AppendEntriesResponse<TypeConfig>),
    /// To a vote or pre-vote.
    Vote(VoteResponse<TypeConfig>),
    /// To a transfer.
    Transfer(TransferLeaderResponse<TypeConfig>),
}

/// What one replica asks another beside Raft's own messages.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Ask {
    /// The leader: propose this command.
    Write {
        /// The command.
        command: Box<Command>,
        /// When the asker stops waiting.
        within: Duration,
    },
    /// The leader: which log index must be applied for a read that starts now?
    ReadIndex,
    /// The leader: change the membership.
    Change {
        /// The change.
        change: MemberChange,
        /// When the asker stops waiting.
        within: Duration,
    },
    /// The leader: take this node in, or notice its new address.
    Join(Joiner),
    /// The leader: make a checkpoint now.
    Checkpoint,
    /// Any node: who are you, and do you belong to a cluster?
    Meet,
    /// Any node: how are you?
    Status,
    /// Any node: validate and compile the component with this digest.
    Prepare {
        /// BLAKE3 of the component.
        digest: [u8; 32],
        /// When the asker stops waiting.
        within: Duration,
    },
    /// Any node: what rows are on your disk at this checkpoint, once you have it?
    Rows {
        /// Log index of the checkpoint.
        checkpoint: u64,
        /// What about them.
        question: RowsQuestion,
        /// When the asker stops waiting.
        within: Duration,
    },
    /// The leader: propose these commands, to be logged in this order.
    Writes {
        /// The commands.
        commands: Vec<Command>,
        /// When the asker stops waiting.
        within: Duration,
    },
    /// A node that has the authority's key: give this new node its certificate, if its token counts.
    Enroll(Box<EnrollRequest>),
}

/// A node that wants to become a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joiner {
    /// Its number.
    pub id: NodeId,
    /// What the membership is to hold of it.
    pub node: Node,
    /// It takes the place of the member that has its number: that one's data is gone for good.
    pub replaces: bool,
    /// The engines that it can honour.
    pub honours: Vec<EngineIdentity>,
}

/// The answer to an [`Ask`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Tell {
    /// To a write.
    Outcome(Outcome),
    /// To a read index.
    ReadIndex(u64),
    /// To a change, a join or a preparation.
    Done,
    /// To a meeting.
    Met(Meeting),
    /// To a status.
    Status(Box<NodeStatus>),
    /// To a checkpoint: the log index of one that was made since.
    Checkpoint(u64),
    /// To a question about rows.
    Rows(Box<RowsAnswer>),
    /// The same: this node has gone on to another checkpoint, and has the rows of the one asked for no
    /// more.
    Passed,
    /// The same: some row cannot be read, or fails its checksum.
    Damaged(String),
    /// To several writes: what each came to.
    Outcomes(Vec<Result<Outcome, Refusal>>),
    /// To a new node's request.
    Enrolled(Box<Enrolled>),
}

/// Why there is no [`Tell`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What the caller is told.
    pub failure: Failure,
    /// It is certain that nothing was started, so the same can be asked again, here or elsewhere.
    pub untouched: bool,
}

impl Refusal {
    /// Nothing was started.
    pub fn untouched(failure: Failure) -> Self {
        Self {
            failure,
            untouched: true,
        }
    }

    /// It may have been done, or may yet be.
    pub fn unknown(failure: Failure) -> Self {
        Self {
            failure,
            untouched: false,
        }
    }
}

/// What a node tells a stranger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meeting {
    /// The node's number.
    pub id: NodeId,
    /// What a membership would hold of it.
    pub node: Node,
    /// It belongs to a cluster, or is about to: it has the beginning of a log.
    pub initialized: bool,
    /// It is or was a member of a cluster.
    pub joined: bool,
    /// The members as of the last entry that it has applied, and the index of the entry that made
    /// them.
    pub members: Nodes,
    /// See `members`; `None` as long as it has applied none.
    pub membership: Option<u64>,
    /// The engines that it can honour.
    pub honours: Vec<EngineIdentity>,
}

/// What comes before a snapshot's chunks.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct SnapshotHead {
    /// The Raft group it is for.
    pub group: u64,
    /// The leader's vote.
    pub vote: Vote,
    /// The entry it reaches up to, and the members at that point.
    pub meta: SnapshotMeta,
}

/// What a snapshot reaches up to.
pub type SnapshotMeta = openraft::SnapshotMeta<CommittedLeaderId, NodeId, Node>;

/// A piece of a snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum SnapshotPart {
    /// One of the machine's chunks.
    Chunk(#[serde(with = "serde_bytes")] Vec<u8>),
    /// All chunks were sent.
    End,
}

/// The answer to a snapshot.
pub type SnapshotTell = Result<SnapshotResponse<TypeConfig>, String>;
