//! What a successful command answers.

use serde::{Deserialize, Serialize};

/// A command's answer: the values of the Redis protocol (RESP3), minus its errors.
///
/// The plugin world has no recursive types, so a plugin returns the flat form described in
/// `wit/types.wit`; the machine turns it into this tree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// Nothing there: a missing key, a missing result.
    Nil,
    /// Done, and there is nothing else to say.
    Ok,
    /// A signed number.
    Integer(i64),
    /// A floating-point number. NaN is always the canonical quiet NaN.
    Double(f64),
    /// Text in UTF-8.
    Text(String),
    /// Bytes of no stated meaning.
    Bytes(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Replies in order.
    Array(Vec<Reply>),
    /// Pairs in the order the plugin gave them.
    Map(Vec<(Reply, Reply)>),
}

/// What one value takes by itself. A constant rather than `size_of`: limits are replicated.
const ITEM_BYTES: usize = 32;

impl Reply {
    /// Bytes of memory that this reply takes, for limits. The encoded form is no larger.
    pub fn size_bytes(&self) -> usize {
        let payload = match self {
            Reply::Nil | Reply::Ok | Reply::Integer(_) | Reply::Double(_) => 0,
            Reply::Text(text) => text.len(),
            Reply::Bytes(bytes) => bytes.len(),
            Reply::Array(items) => items.iter().map(Reply::size_bytes).sum(),
            Reply::Map(pairs) => pairs
                .iter()
                .map(|(key, value)| key.size_bytes() + value.size_bytes())
                .sum(),
        };
        ITEM_BYTES + payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replys_size_covers_its_memory_and_its_encoding() {
        assert!(size_of::<Reply>() <= ITEM_BYTES);
        let numbers = Reply::Array(vec![Reply::Integer(i64::MIN); 1_000]);
        assert!(numbers.size_bytes() >= 1_000 * size_of::<Reply>());
        assert!(numbers.size_bytes() >= crate::codec::encode(&numbers).len());
    }
}
