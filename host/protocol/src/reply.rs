//! What a successful command answers.

use std::fmt;

use serde::de::{DeserializeSeed, EnumAccess, Error, SeqAccess, VariantAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_bytes::ByteBuf;

/// Arrays and maps that a value in a reply may lie in.
pub const REPLY_DEPTH_MAX: usize = 32;

/// A command's answer: the values of the Redis protocol (RESP3), minus its errors.
///
/// The plugin world has no recursive types, so a plugin returns the flat form described in
/// `wit/types.wit`; the machine turns it into this tree.
///
/// Values lie in [`REPLY_DEPTH_MAX`] others at most; what lies deeper is not decoded.
#[derive(Clone, Debug, PartialEq, Serialize)]
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

impl<'de> Deserialize<'de> for Reply {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Nested { depth: 0 }.deserialize(deserializer)
    }
}

/// The kinds of [`Reply`], in its order.
#[derive(Deserialize)]
#[serde(variant_identifier)]
enum Kind {
    Nil,
    Ok,
    Integer,
    Double,
    Text,
    Bytes,
    Array,
    Map,
}

/// Reads a reply that lies in `depth` others. A level is two bytes on the wire and hundreds on the
/// stack, so the sender does not decide how many there are.
#[derive(Clone, Copy)]
struct Nested {
    depth: usize,
}

impl Nested {
    fn inner<E: Error>(self) -> Result<Self, E> {
        if self.depth > REPLY_DEPTH_MAX {
            return Err(E::custom("a reply is nested too deep"));
        }
        Ok(Self {
            depth: self.depth + 1,
        })
    }
}

impl<'de> DeserializeSeed<'de> for Nested {
    type Value = Reply;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Reply, D::Error> {
        const KINDS: &[&str] = &[
            "Nil", "Ok", "Integer", "Double", "Text", "Bytes", "Array", "Map",
        ];
        let inner = self.inner()?;
        deserializer.deserialize_enum("Reply", KINDS, inner)
    }
}

impl<'de> Visitor<'de> for Nested {
    type Value = Reply;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a reply")
    }

    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<Reply, A::Error> {
        let (kind, content) = access.variant()?;
        Ok(match kind {
            Kind::Nil => {
                content.unit_variant()?;
                Reply::Nil
            }
            Kind::Ok => {
                content.unit_variant()?;
                Reply::Ok
            }
            Kind::Integer => Reply::Integer(content.newtype_variant()?),
            Kind::Double => Reply::Double(content.newtype_variant()?),
            Kind::Text => Reply::Text(content.newtype_variant()?),
            Kind::Bytes => Reply::Bytes(content.newtype_variant::<ByteBuf>()?.into_vec()),
            Kind::Array => Reply::Array(content.newtype_variant_seed(Items(self))?),
            Kind::Map => Reply::Map(content.newtype_variant_seed(Items(Pair(self)))?),
        })
    }
}

/// Reads a key and its value.
#[derive(Clone, Copy)]
struct Pair(Nested);

impl<'de> DeserializeSeed<'de> for Pair {
    type Value = (Reply, Reply);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_tuple(2, self)
    }
}

impl<'de> Visitor<'de> for Pair {
    type Value = (Reply, Reply);

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a key and its value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut pair: A) -> Result<Self::Value, A::Error> {
        let mut part = |number| {
            pair.next_element_seed(self.0)?
                .ok_or_else(|| A::Error::invalid_length(number, &self))
        };
        Ok((part(0)?, part(1)?))
    }
}

/// Reads any number of what its content reads.
struct Items<S>(S);

impl<'de, S: DeserializeSeed<'de> + Copy> DeserializeSeed<'de> for Items<S> {
    type Value = Vec<S::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, S: DeserializeSeed<'de> + Copy> Visitor<'de> for Items<S> {
    type Value = Vec<S::Value>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("replies in order")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        // Each level could say that it has as many as bytes are left.
        let mut read = Vec::with_capacity(items.size_hint().unwrap_or(0).min(64));
        while let Some(item) = items.next_element_seed(self.0)? {
            read.push(item);
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{decode, encode};

    #[test]
    fn replies_of_every_kind_come_back() {
        let kinds = vec![
            Reply::Nil,
            Reply::Ok,
            Reply::Integer(-1),
            Reply::Double(1.5),
            Reply::Text("text".into()),
            Reply::Bytes(vec![0, 255]),
            Reply::Array(vec![]),
        ];
        let pairs = kinds.iter().cloned().zip(kinds.iter().cloned().rev());
        let reply = Reply::Map(vec![
            (Reply::Nil, Reply::Map(pairs.collect())),
            (Reply::Array(kinds), Reply::Ok),
        ]);
        assert_eq!(decode(&encode(&reply)), Ok(reply));
    }

    #[test]
    fn a_reply_is_decoded_up_to_a_depth_and_no_further() {
        let nested = |depth| (0..depth).fold(Reply::Nil, |inner, _| Reply::Array(vec![inner]));
        let most = nested(REPLY_DEPTH_MAX);
        assert_eq!(decode(&encode(&most)), Ok(most));
        assert!(decode::<Reply>(&encode(&nested(REPLY_DEPTH_MAX + 1))).is_err());
        // Deeper than any stack.
        let bytes = [6, 1].repeat(1_000_000);
        assert!(decode::<Reply>(&bytes).is_err());
    }

    #[test]
    fn a_replys_size_covers_its_memory_and_its_encoding() {
        assert!(size_of::<Reply>() <= ITEM_BYTES);
        let numbers = Reply::Array(vec![Reply::Integer(i64::MIN); 1_000]);
        assert!(numbers.size_bytes() >= 1_000 * size_of::<Reply>());
        assert!(numbers.size_bytes() >= crate::codec::encode(&numbers).len());
    }
}
