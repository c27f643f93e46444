//! Row keys: a table number, then the table's own key.

use std::sync::Arc;

/// A row's key in the one map.
pub(crate) type Key = Arc<[u8]>;

/// The first byte of a key. Numbers are part of the state layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Table {
    /// Cluster-wide values by name.
    System = 0,
    /// Plugin records by name.
    Catalogue = 1,
    /// Component bytes by digest.
    Component = 2,
    /// Sessions by number.
    Session = 3,
    /// Idempotency keys by principal and key.
    OnceKey = 4,
    /// Timers by due time, plugin and id.
    TimerByTime = 5,
    /// Due times by plugin and id.
    TimerById = 6,
    /// The plugins' own rows, by key space and key.
    Data = 7,
    /// Migrations that are going on, by plugin.
    Migration = 8,
    /// Uploads that are under way, or done and not activated, by digest.
    Upload = 9,
    /// Their pieces, by digest and offset.
    UploadPiece = 10,
}

impl Table {
    /// A key of this table.
    pub(crate) fn key(self, parts: &[&[u8]]) -> Key {
        let mut key = Vec::with_capacity(1 + parts.iter().map(|part| part.len()).sum::<usize>());
        key.push(self as u8);
        for part in parts {
            key.extend_from_slice(part);
        }
        key.into()
    }

    /// First key of the table, and the first key behind it.
    pub(crate) fn bounds(self) -> (Key, Key) {
        ([self as u8].into(), [self as u8 + 1].into())
    }
}

/// Writes the key of a key space's row into `buffer`, replacing what is there.
pub(crate) fn data_key(buffer: &mut Vec<u8>, space: u32, key: &[u8]) {
    buffer.clear();
    buffer.push(Table::Data as u8);
    buffer.extend_from_slice(&space.to_be_bytes());
    buffer.extend_from_slice(key);
}

/// What the keys of a key space's rows start with.
pub(crate) fn space_prefix(space: u32) -> [u8; 5] {
    let [a, b, c, d] = space.to_be_bytes();
    [Table::Data as u8, a, b, c, d]
}

/// The first key behind every key that starts with `prefix`.
///
/// # Panics
/// When `prefix` is all 0xFF; keys start with a table number, so none is.
pub(crate) fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.last_mut() {
        if *last < u8::MAX {
            *last += 1;
            return end;
        }
        end.pop();
    }
    panic!("a prefix of 0xFF has no end");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_carries_over() {
        assert_eq!(prefix_end(&[7, 0, 0, 0, 1]), [7, 0, 0, 0, 2]);
        assert_eq!(prefix_end(&[7, 0, 0, 0, 255]), [7, 0, 0, 1]);
    }
}
