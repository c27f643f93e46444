//! How the log's rows are written: each with a checksum over its key and its bytes, so that a
//! damaged row, or a row under another key, is never taken for what was stored.

use std::{collections::BTreeMap, io};

use bytes::Bytes;
use hostd_protocol::NodeId;
use openraft::EntryPayload;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::LogKey;
use crate::types::{LogEntry, LogId, Payload, Vote, log_id, term_and_index};

/// Bytes of a row's checksum, the first of the row.
const CHECKSUM_BYTES: usize = 8;
/// Bytes before an entry's body: checksum, term, kind.
const ENTRY_HEADER_BYTES: usize = CHECKSUM_BYTES + 8 + 1;

const KIND_BLANK: u8 = 0;
const KIND_NORMAL: u8 = 1;
const KIND_MEMBERSHIP: u8 = 2;

/// A log entry in the form in which it is stored.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) index: u64,
    term: u64,
    kind: u8,
    body: Bytes,
}

impl Record {
    /// Takes an entry apart. The bytes of its payload are shared, not copied.
    pub(crate) fn new(entry: &LogEntry) -> Self {
        let (term, index) = term_and_index(&entry.log_id);
        let (kind, body) = match &entry.payload {
            EntryPayload::Blank => (KIND_BLANK, Bytes::new()),
            EntryPayload::Normal(payload) => (KIND_NORMAL, payload.bytes().clone()),
            EntryPayload::Membership(membership) => (
                KIND_MEMBERSHIP,
                hostd_protocol::codec::encode(membership).into(),
            ),
        };
        Self {
            index,
            term,
            kind,
            body,
        }
    }

    /// Bytes that [`Record::write`] needs.
    pub(crate) fn len(&self) -> usize {
        ENTRY_HEADER_BYTES + self.body.len()
    }

    /// Writes the row that belongs under `key`.
    pub(crate) fn write(&self, key: LogKey, row: &mut [u8]) {
        let (header, body) = row.split_at_mut(ENTRY_HEADER_BYTES);
        header[CHECKSUM_BYTES..CHECKSUM_BYTES + 8].copy_from_slice(&self.term.to_le_bytes());
        header[ENTRY_HEADER_BYTES - 1] = self.kind;
        body.copy_from_slice(&self.body);
        seal(key, row);
    }
}

/// Reads the row under `key` back.
pub(crate) fn read_entry(key: LogKey, row: &[u8]) -> io::Result<LogEntry> {
    let content = unseal(key, row)?;
    let malformed = || damaged(key, "has an unknown form");
    let (term, rest) = content.split_first_chunk().ok_or_else(malformed)?;
    let (kind, body) = rest.split_first().ok_or_else(malformed)?;
    let payload = match *kind {
        KIND_BLANK => EntryPayload::Blank,
        KIND_NORMAL => EntryPayload::Normal(Payload::from_bytes(Bytes::copy_from_slice(body))),
        KIND_MEMBERSHIP => {
            EntryPayload::Membership(hostd_protocol::codec::decode(body).map_err(|_| malformed())?)
        }
        _ => return Err(malformed()),
    };
    Ok(LogEntry {
        log_id: log_id(u64::from_le_bytes(*term), key.1),
        payload,
    })
}

/// Bytes of memory that an entry holds, for limits.
pub(crate) fn entry_bytes(entry: &LogEntry) -> usize {
    const OVERHEAD_BYTES: usize = 128;
    OVERHEAD_BYTES
        + match &entry.payload {
            EntryPayload::Normal(payload) => payload.bytes().len(),
            EntryPayload::Blank | EntryPayload::Membership(_) => 0,
        }
}

/// What the log remembers beside its entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meta {
    /// Number of the commit that wrote this.
    pub(crate) sequence: u64,
    /// By group.
    pub(crate) groups: BTreeMap<u64, GroupMeta>,
}

impl Meta {
    /// What is remembered of a group.
    pub(crate) fn group(&mut self, group: u64) -> &mut GroupMeta {
        self.groups.entry(group).or_default()
    }
}

/// What one Raft group remembers beside its entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GroupMeta {
    pub(crate) vote: Option<Vote>,
    pub(crate) committed: Option<LogId>,
    pub(crate) purged: Option<LogId>,
    pub(crate) facts: Facts,
}

/// What is true of the node that owns the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Fact {
    /// The state beside the log was found to be wrong.
    Quarantined = 1,
    /// The node is or was a member of the cluster.
    Joined = 2,
}

/// A set of [`Fact`]s, as the sum of their numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Facts(u8);

impl Facts {
    pub(crate) fn has(self, fact: Fact) -> bool {
        self.0 & fact as u8 != 0
    }

    pub(crate) fn set(&mut self, fact: Fact, on: bool) {
        if on {
            self.0 |= fact as u8;
        } else {
            self.0 &= !(fact as u8);
        }
    }
}

/// Who the log belongs to; written when it is made and never again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// Version of the layout of the file. First, so that every version can read it.
    pub(crate) format: u32,
    pub(crate) node: NodeId,
    pub(crate) incarnation: u64,
}

/// Encodes a row that is not an entry.
pub(crate) fn write_row<T: Serialize>(key: LogKey, value: &T) -> Vec<u8> {
    let mut row = vec![0; CHECKSUM_BYTES];
    row = postcard::to_extend(value, row).expect("the log's own types have a postcard encoding");
    seal(key, &mut row);
    row
}

/// Decodes a row that is not an entry. Bytes after the value are left to newer versions.
pub(crate) fn read_row<T: DeserializeOwned>(key: LogKey, row: &[u8]) -> io::Result<T> {
    let content = unseal(key, row)?;
    postcard::take_from_bytes(content)
        .map(|(value, _)| value)
        .map_err(|_| damaged(key, "has an unknown form"))
}

fn checksum(key: LogKey, content: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&key.0.to_le_bytes());
    hasher.update(&key.1.to_le_bytes());
    hasher.update(content);
    *hasher
        .finalize()
        .as_bytes()
        .first_chunk()
        .expect("a hash has 32 bytes")
}

fn seal(key: LogKey, row: &mut [u8]) {
    let (head, content) = row.split_at_mut(CHECKSUM_BYTES);
    head.copy_from_slice(&checksum(key, content));
}

fn unseal(key: LogKey, row: &[u8]) -> io::Result<&[u8]> {
    let (stored, content) = row
        .split_first_chunk::<CHECKSUM_BYTES>()
        .ok_or_else(|| damaged(key, "is too short"))?;
    if *stored == checksum(key, content) {
        Ok(content)
    } else {
        Err(damaged(
            key,
            "does not have the checksum it was written with",
        ))
    }
}

fn damaged(key: LogKey, what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("row {}/{} of the log {what}", key.0, key.1),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(entry: &LogEntry, key: LogKey) -> Vec<u8> {
        let record = Record::new(entry);
        let mut row = vec![0; record.len()];
        record.write(key, &mut row);
        row
    }

    #[test]
    fn entries_of_every_kind_come_back() {
        let membership = openraft::Membership::new_with_defaults(vec![[1].into()], [1]);
        for payload in [
            EntryPayload::Blank,
            EntryPayload::Normal(Payload::from_bytes(Bytes::from_static(b"abc"))),
            EntryPayload::Membership(membership),
        ] {
            let entry = LogEntry {
                log_id: log_id(3, 9),
                payload,
            };
            assert_eq!(read_entry((0, 9), &row(&entry, (0, 9))).unwrap(), entry);
        }
    }

    #[test]
    fn every_flipped_bit_and_every_other_key_is_noticed() {
        let entry = LogEntry {
            log_id: log_id(3, 9),
            payload: EntryPayload::Normal(Payload::from_bytes(Bytes::from_static(b"abc"))),
        };
        let good = row(&entry, (0, 9));
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(read_entry((0, 9), &bad).is_err(), "bit {bit}");
        }
        assert!(read_entry((0, 8), &good).is_err());
        assert!(read_entry((1, 9), &good).is_err());
        assert!(read_entry((0, 9), &good[..4]).is_err());
    }
}
