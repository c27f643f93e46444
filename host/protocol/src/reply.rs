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

impl Reply {
    /// Bytes of heap and inline payload this reply holds, for limits; an estimate within a small
    /// factor of the encoded size.
    pub fn size_bytes(&self) -> usize {
        match self {
            Reply::Nil | Reply::Ok => 1,
            Reply::Integer(_) | Reply::Double(_) => 9,
            Reply::Text(text) => 5 + text.len(),
            Reply::Bytes(bytes) => 5 + bytes.len(),
            Reply::Array(items) => 5 + items.iter().map(Reply::size_bytes).sum::<usize>(),
            Reply::Map(pairs) => {
                5 + pairs
                    .iter()
                    .map(|(key, value)| key.size_bytes() + value.size_bytes())
                    .sum::<usize>()
            }
        }
    }
}
