//! A row's value and its form on disk.

use std::sync::Arc;

use hostd_planted::{self as planted, Bug};
use hostd_protocol::Revision;

use super::Table;
use super::digest::row_hash;
use crate::Fault;

/// What is stored at a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) revision: Revision,
    pub(crate) value: Arc<[u8]>,
}

/// `index` (8 bytes, little-endian), `position` (4), checksum (4), then the value.
const HEADER_BYTES: usize = 16;

impl Row {
    /// The row as stored, and its hash for the state digest. The checksum is the hash's first
    /// four bytes: one computation serves both.
    pub(crate) fn encode(&self, key: &[u8]) -> (Vec<u8>, [u8; 32]) {
        let hash = row_hash(key, self.revision, &self.value);
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.value.len());
        bytes.extend_from_slice(&self.revision.index.to_le_bytes());
        bytes.extend_from_slice(&self.revision.position.to_le_bytes());
        bytes.extend_from_slice(&hash[..4]);
        bytes.extend_from_slice(&self.value);
        (bytes, digest_share(key, hash))
    }

    /// The same row with another revision: a difference that no client is told of, so that only
    /// the digest can tell.
    pub(crate) fn altered(&self) -> Self {
        let position = self.revision.position ^ (1 << 31);
        let revision = Revision {
            position,
            ..self.revision
        };
        Self {
            revision,
            value: Arc::clone(&self.value),
        }
    }

    /// Size of the value of a stored row.
    pub(crate) fn value_bytes(bytes: &[u8]) -> usize {
        bytes.len().saturating_sub(HEADER_BYTES)
    }

    /// Reads a stored row and verifies its checksum, so that a damaged row is a fault and never
    /// an answer. Returns the row and its hash.
    pub(crate) fn decode(key: &[u8], bytes: &[u8]) -> Result<(Self, [u8; 32]), Fault> {
        let damaged = || Fault::Corrupt(format!("row {} fails its checksum", hex_start(key)));
        let (header, value) = bytes
            .split_first_chunk::<HEADER_BYTES>()
            .ok_or_else(damaged)?;
        let (index, rest) = header.split_first_chunk::<8>().ok_or_else(damaged)?;
        let (position, check) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
        let revision = Revision {
            index: u64::from_le_bytes(*index),
            position: u32::from_le_bytes(*position),
        };
        let hash = row_hash(key, revision, value);
        if check != &hash[..4] {
            return Err(damaged());
        }
        Ok((
            Self {
                revision,
                value: value.into(),
            },
            digest_share(key, hash),
        ))
    }
}

/// What a row with this hash adds to the digest.
fn digest_share(key: &[u8], hash: [u8; 32]) -> [u8; 32] {
    let skipped =
        planted::active(Bug::DigestSkipsSessions) && key.first() == Some(&(Table::Session as u8));
    if skipped { [0; 32] } else { hash }
}

/// The start of a key for messages: enough to find it, too little to leak a value.
fn hex_start(key: &[u8]) -> String {
    format!("{:02x?}", &key[..key.len().min(16)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_a_stored_row_is_found() {
        let row = Row {
            revision: Revision {
                index: 9,
                position: 2,
            },
            value: Arc::from(*b"value"),
        };
        let (bytes, hash) = row.encode(b"key");
        assert_eq!(Row::decode(b"key", &bytes).unwrap(), (row, hash));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Row::decode(b"key", &damaged).is_err(), "bit {bit}");
        }
        assert!(Row::decode(b"other", &bytes).is_err());
        assert!(Row::decode(b"key", &bytes[..10]).is_err());
    }
}
