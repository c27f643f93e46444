//! What a simulator's checks read: facts about this replica, told as trace events of one target.
//!
//! Nobody else listens to them, and while nobody does they cost a load and a branch.

use hostd_machine::Position;
use openraft::EntryPayload;

use crate::{
    log_store::Change,
    types::{LogEntry, Membership, Vote, term_and_index},
};

/// The events' target.
pub(crate) const TARGET: &str = "hostd_observed";

/// Whether anybody listens.
fn listening() -> bool {
    tracing::enabled!(target: TARGET, tracing::Level::TRACE)
}

/// The first eight bytes of a hash, as a number.
fn short(hash: &[u8; 32]) -> u64 {
    u64::from_le_bytes(*hash.first_chunk().expect("a hash has 32 bytes"))
}

/// A hash of what an entry carries.
fn content(entry: &LogEntry) -> u64 {
    let hash = match &entry.payload {
        EntryPayload::Blank => blake3::hash(b"blank"),
        EntryPayload::Normal(payload) => blake3::hash(payload.bytes()),
        EntryPayload::Membership(membership) => {
            blake3::hash(&hostd_protocol::codec::encode(membership))
        }
    };
    short(hash.as_bytes())
}

/// An entry was put into this node's log.
pub(crate) fn appended(entry: &LogEntry) {
    if listening() {
        let (term, index) = term_and_index(&entry.log_id);
        tracing::trace!(target: TARGET, term, index, content = content(entry), "appended");
    }
}

/// What is to be told of changes once they are durable: the first index that was cut off, if any
/// was, the indexes that were written, and up to which the log was given up, in order.
pub(crate) fn told_when_durable(changes: &[Change]) -> Vec<(&'static str, u64)> {
    if !listening() {
        return Vec::new();
    }
    let told = |change: &Change| match change {
        Change::Put { record, .. } => Some(("durable", record.index)),
        Change::Truncate { from, .. } => Some(("truncated", *from)),
        Change::Purge { purged, .. } => Some(("purged", purged.index())),
        _ => None,
    };
    changes.iter().filter_map(told).collect()
}

/// Changes are durable.
pub(crate) fn durable(told: Vec<(&'static str, u64)>) {
    for (what, index) in told {
        tracing::trace!(target: TARGET, index, "{what}");
    }
}

/// An entry is about to be applied here, so it is committed.
pub(crate) fn applying(entry: &LogEntry) {
    if listening() {
        let (term, index) = term_and_index(&entry.log_id);
        tracing::trace!(target: TARGET, term, index, content = content(entry), "applying");
    }
}

/// An entry was applied here; the replicated clock shows `time`, and `rules` are in force behind it.
pub(crate) fn applied(position: Position, time: u64, rules: u32) {
    tracing::trace!(target: TARGET, index = position.index, time, rules, "applied");
}

/// This node's vote is on disk: for a candidate, or, once that is known to lead, for the leader of
/// the term.
pub(crate) fn voted(vote: &Vote) {
    tracing::trace!(
        target: TARGET,
        term = vote.leader_id().term,
        candidate = vote.leader_id().voted_for,
        leads = u64::from(vote.is_committed()),
        "voted"
    );
}

/// This node leads.
pub(crate) fn leads(term: u64) {
    tracing::trace!(target: TARGET, term, "leads");
}

/// A checkpoint is durable here.
pub(crate) fn checkpoint(index: u64, digest: &[u8; 32]) {
    tracing::trace!(target: TARGET, index, digest = short(digest), "checkpoint");
}

/// A snapshot took the place of this node's state.
pub(crate) fn installed(index: u64, digest: &[u8; 32]) {
    tracing::trace!(target: TARGET, index, digest = short(digest), "installed");
}

/// A membership is applied here, so it is committed: each of its members, with its directory.
pub(crate) fn membership(index: u64, membership: &Membership) {
    if listening() {
        for (member, node) in membership.nodes() {
            let incarnation = node.incarnation;
            tracing::trace!(target: TARGET, index, member = *member, incarnation, "member");
        }
    }
}

/// This node applied a membership in which it votes, as the directory that it has now.
pub(crate) fn votes() {
    tracing::trace!(target: TARGET, "votes");
}

/// This node found that its state is the wrong one.
pub(crate) fn quarantined() {
    tracing::trace!(target: TARGET, "quarantined");
}
