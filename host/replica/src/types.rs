//! The types that Raft is told about: what a log entry carries, what a node is, what applying
//! an entry answers.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use hostd_protocol::{Entry, NodeId, Outcome, codec};
use openraft::{
    EntryPayload, RaftTypeConfig,
    impls::{BoxedErrorSource, InlineBatch, leader_id_std},
    raft::responder::Responder,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The Raft group that everything belongs to, until there are several.
pub(crate) const GROUP: u64 = 0;

/// Raft's types in hostd.
///
/// Leader ids are of the standard kind: at most one leader in a term, so a term and an index
/// name a log entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TypeConfig;

impl RaftTypeConfig for TypeConfig {
    type D = Payload;
    type R = Applied;
    type NodeId = NodeId;
    type Node = Node;
    type Term = u64;
    type LeaderId = LeaderId;
    type Vote = Vote;
    type Payload = EntryPayload<Payload, NodeId, Node>;
    type Entry = LogEntry;
    #[allow(deprecated)]
    type AsyncRuntime = openraft::impls::TokioRuntime;
    type Responder<T>
        = Callback<T>
    where
        T: Send + 'static;
    type Batch<T>
        = InlineBatch<T>
    where
        T: Send + 'static;
    type ErrorSource = BoxedErrorSource;
}

/// A term with the node that stands for it or leads it.
pub type LeaderId = leader_id_std::LeaderId<u64, NodeId>;
/// A term with its leader, as a log id holds it.
pub type CommittedLeaderId = <LeaderId as openraft::vote::RaftLeaderId>::Committed;
/// A vote, cast or committed.
pub type Vote = openraft::impls::Vote<LeaderId>;
/// The name of a log entry.
pub type LogId = openraft::LogId<CommittedLeaderId>;
/// A log entry.
pub type LogEntry = openraft::Entry<CommittedLeaderId, EntryPayload<Payload, NodeId, Node>>;
/// A set of voters and learners.
pub type Membership = openraft::Membership<NodeId, Node>;
/// A set of voters and learners with the log entry that made it.
pub type StoredMembership = openraft::StoredMembership<CommittedLeaderId, NodeId, Node>;

/// The log id of `index` in `term`.
pub fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term), index)
}

/// Term and index of a log id.
pub fn term_and_index(log_id: &LogId) -> (u64, u64) {
    (**log_id.committed_leader_id(), log_id.index())
}

/// What the membership knows about a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// `host:port` that the others dial.
    pub address: String,
    /// Random number made with the node's data directory. A node that comes back with another
    /// one has lost its log, and with it the promises it made: it is not the same member.
    pub incarnation: u64,
    /// What the node is meant to be. Part of the membership, so that a leader finishes what an
    /// earlier one began.
    pub standing: Standing,
}

/// What a member is meant to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// A voter; a learner until it is in sync.
    #[default]
    Voter,
    /// A learner.
    Learner,
    /// Nothing any more: it is on its way out.
    Leaving,
}

impl fmt::Display for Node {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}#{:016x}", self.address, self.incarnation)
    }
}

/// A [`hostd_protocol::Entry`] in its encoded form, which log and network pass on unchanged,
/// with its decoded form until somebody takes it.
///
/// The node that proposes an entry encodes it and never decodes it; every other node decodes it
/// once, when it applies it.
#[derive(Clone)]
pub struct Payload {
    bytes: Bytes,
    decoded: Arc<Mutex<Option<Entry>>>,
}

impl Payload {
    /// Encodes an entry and keeps it for the local apply.
    pub fn new(entry: Entry) -> Self {
        Self {
            bytes: codec::encode(&entry).into(),
            decoded: Arc::new(Mutex::new(Some(entry))),
        }
    }

    /// An entry that arrived encoded.
    pub fn from_bytes(bytes: Bytes) -> Self {
        Self {
            bytes,
            decoded: Arc::default(),
        }
    }

    /// The encoded form.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The decoded form, which is given away: it is decoded anew if asked for again.
    pub fn take_entry(&self) -> Result<Entry, codec::DecodeError> {
        let kept = self
            .decoded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match kept {
            Some(entry) => Ok(entry),
            None => codec::decode(&self.bytes),
        }
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} bytes", self.bytes.len())
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, formatter)
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.bytes)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Payload;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an encoded entry")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Payload, E> {
                Ok(Payload::from_bytes(Bytes::copy_from_slice(bytes)))
            }

            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Payload, E> {
                Ok(Payload::from_bytes(bytes.into()))
            }
        }
        deserializer.deserialize_byte_buf(Visitor)
    }
}

/// What applying an entry answers to the node that proposed it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Applied {
    /// One outcome per command of a batch; none for other entries.
    pub outcomes: Vec<Outcome>,
}

/// Raft's answer to a proposal, given to a function.
///
/// The function runs exactly once: with `None` when Raft drops the proposal without an answer,
/// which it does when it stops.
pub struct Callback<T>(Option<Box<dyn FnOnce(Option<T>) + Send>>);

impl<T> Callback<T> {
    /// Calls `function` with the answer.
    pub fn new(function: impl FnOnce(Option<T>) + Send + 'static) -> Self {
        Self(Some(Box::new(function)))
    }
}

impl<T> Drop for Callback<T> {
    fn drop(&mut self) {
        if let Some(function) = self.0.take() {
            function(None);
        }
    }
}

impl<T: Send + 'static> Responder<TypeConfig, T> for Callback<T> {
    fn on_complete(mut self, result: T) {
        if let Some(function) = self.0.take() {
            function(Some(result));
        }
    }
}

/// Members by id, voters and learners alike.
pub type Nodes = BTreeMap<NodeId, Node>;

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry::Checkpoint {
            time: 7,
            previous: None,
        }
    }

    #[test]
    fn a_payload_travels_encoded_and_is_decoded_at_its_end() {
        let sent = Payload::new(entry());
        let wire = codec::encode(&sent);
        let received: Payload = codec::decode(&wire).unwrap();
        assert_eq!(received, sent);
        assert_eq!(received.take_entry().unwrap(), entry());
        assert_eq!(received.take_entry().unwrap(), entry());
        assert_eq!(sent.take_entry().unwrap(), entry());
    }

    #[test]
    fn a_dropped_callback_tells_its_function() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let answered = Callback::new({
            let sender = sender.clone();
            move |answer: Option<u8>| sender.send(answer).unwrap()
        });
        drop(Callback::<u8>::new(move |answer| {
            sender.send(answer).unwrap();
        }));
        answered.on_complete(3);
        let answers: Vec<_> = receiver.iter().collect();
        assert_eq!(answers, vec![None, Some(3)]);
    }
}
