//! From what a command returns to its reply.

use std::collections::BTreeMap;

use crate::bindings::hostd::plugin::types::Token;
use crate::{Key, Rejection, Result, Time};

/// A reply whose shape is not known from the command's type. Most commands return plain types.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// Nothing there.
    Nil,
    /// Done, and there is nothing else to say.
    Ok,
    /// A signed number.
    Integer(i64),
    /// A floating-point number.
    Double(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Replies in order.
    Array(Vec<Reply>),
    /// Pairs in order.
    Map(Vec<(Reply, Reply)>),
}

/// What a command can return.
///
/// | type | reply |
/// |---|---|
/// | `()` | ok |
/// | `i64`, `i32`, `u64`, `u32`, `u16`, `usize`, `bool` (1 or 0) | an integer |
/// | `f64` | a double |
/// | `String`, `&str` | text |
/// | `Vec<u8>`, `&[u8]`, [`Key`] | bytes |
/// | [`Time`] | its nanoseconds since the Unix epoch |
/// | `Option` | nil, or what is inside |
/// | `Vec`, tuples | an array |
/// | `BTreeMap`, [`ReplyMap`](crate::ReplyMap) | a map |
/// | `Result` | what is inside, or a rejection |
pub trait IntoReply {
    /// Appends the reply's tokens.
    fn into_reply(self, out: &mut ReplyBuffer) -> Result<()>;
}

/// A reply in the making: values in prefix order.
#[derive(Debug)]
pub struct ReplyBuffer(Vec<Token>);

impl ReplyBuffer {
    /// Room for one value, which is what most replies are.
    pub(crate) fn new() -> Self {
        Self(Vec::with_capacity(1))
    }

    pub(crate) fn into_tokens(self) -> Vec<Token> {
        self.0
    }

    fn push(&mut self, token: Token) {
        self.0.push(token);
    }

    fn push_array(&mut self, length: usize) {
        self.0.reserve(1 + length);
        self.push(Token::Array(length as u32));
    }

    fn push_map(&mut self, length: usize) {
        self.0.reserve(1 + 2 * length);
        self.push(Token::Map(length as u32));
    }
}

/// Tokens as they are, whether they make a reply or not: for tests of the host.
#[derive(Debug)]
pub struct RawReply(pub Vec<Token>);

impl IntoReply for RawReply {
    fn into_reply(self, out: &mut ReplyBuffer) -> Result<()> {
        out.0.extend(self.0);
        Ok(())
    }
}

/// Pairs that a reply shows as a map, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Map<K, V>(pub Vec<(K, V)>);

impl IntoReply for Reply {
    fn into_reply(self, out: &mut ReplyBuffer) -> Result<()> {
        match self {
            Reply::Nil => {
                out.push(Token::Nil);
                Ok(())
            }
            Reply::Ok => {
                out.push(Token::Ok);
                Ok(())
            }
            Reply::Integer(number) => number.into_reply(out),
            Reply::Double(number) => number.into_reply(out),
            Reply::Text(text) => text.into_reply(out),
            Reply::Bytes(bytes) => bytes.into_reply(out),
            Reply::Array(items) => items.into_reply(out),
            Reply::Map(pairs) => Map(pairs).into_reply(out),
        }
    }
}

impl IntoReply for () {
    fn into_reply(self, out: &mut ReplyBuffer) -> Result<()> {
        out.push(Token::Ok);
        Ok(())
    }
}

impl IntoReply for bool {
    fn into_reply(self, out: &mut ReplyBuffer) -> Result<()> {
        i64::from(self).into_reply(out)
    }
}

impl IntoReply for i64 {
    fn into_reply(self, out: &mut ReplyBuffer) -> Result<()> {
        out.push(Token::Integer(self));
        Ok(())
    }
}

macro_rules! other_integers {
    ($($type:ty)*) => {$(
        impl IntoReply for $type {
            fn into_reply(self, out: &mut ReplyBuffer) -> Result<()> {
                match i64::try_from(self) {
                    Ok(number) => number.into_reply(out),
                    Err(_) => Err(too_large_an_integer()),
                }
            }
        }
    )*};
}

other_integers!(i32 u16 u32 u64 usize);

#[cold]
fn too_large_an_integer() -> Rejection {
    Rejection::new(
        "out_of_range",
        "the reply does not fit a signed 64-bit integer",
    )
}

impl IntoReply for f64 {
    fn into_reply(self, out: &mut ReplyBuffer) -> Result<()> {
        out.push(Token::Double(self));
        Ok(())
    }
}

impl IntoReply for String {
    fn into_reply(self, out: &mut ReplyBuffer) -> Result<()> {
        out.push(Token::Text(self));
        Ok(())
    }
}

impl IntoReply for &str {
    fn into_reply(self, out: &mut ReplyBuffer) -> Result<()> {
        self.to_owned().into_reply(out)
    }
}

impl IntoReply for Vec<u8> {
    fn into_reply(self, out: &mut ReplyBuffer) -> Result<()> {
        out.push(Token::Bytes(self));
        Ok(())
    }
}

impl IntoReply for &[u8] {
    fn into_reply(self, out: &mut ReplyBuffer) -> Result<()> {
        self.to_vec().into_reply(out)
    }
}

impl<const N: usize> IntoReply for [u8; N] {
    fn into_reply(self, out: &mut ReplyBuffer) -> Result<()> {
        self.to_vec().into_reply(out)
    }
}

impl IntoReply for Key {
    fn into_reply(self, out: &mut ReplyBuffer) -> Result<()> {
        self.0.into_reply(out)
    }
}

impl IntoReply for Time {
    fn into_reply(self, out: &mut ReplyBuffer) -> Result<()> {
        self.as_nanos().into_reply(out)
    }
}

impl<T: IntoReply> IntoReply for Option<T> {
    fn into_reply(self, out: &mut ReplyBuffer) -> Result<()> {
        if let Some(value) = self {
            return value.into_reply(out);
        }
        out.push(Token::Nil);
        Ok(())
    }
}

impl<T: IntoReply, E: Into<Rejection>> IntoReply for Result<T, E> {
    fn into_reply(self, out: &mut ReplyBuffer) -> Result<()> {
        self.map_err(Into::into)?.into_reply(out)
    }
}

impl<T: IntoReply> IntoReply for Vec<T> {
    fn into_reply(self, out: &mut ReplyBuffer) -> Result<()> {
        out.push_array(self.len());
        self.into_iter().try_for_each(|item| item.into_reply(out))
    }
}

impl<K: IntoReply, V: IntoReply> IntoReply for Map<K, V> {
    fn into_reply(self, out: &mut ReplyBuffer) -> Result<()> {
        out.push_map(self.0.len());
        push_pairs(self.0, out)
    }
}

impl<K: IntoReply, V: IntoReply> IntoReply for BTreeMap<K, V> {
    fn into_reply(self, out: &mut ReplyBuffer) -> Result<()> {
        out.push_map(self.len());
        push_pairs(self, out)
    }
}

fn push_pairs<K: IntoReply, V: IntoReply>(
    pairs: impl IntoIterator<Item = (K, V)>,
    out: &mut ReplyBuffer,
) -> Result<()> {
    pairs.into_iter().try_for_each(|(key, value)| {
        key.into_reply(out)?;
        value.into_reply(out)
    })
}

macro_rules! tuples {
    ($length:literal $($name:ident)*) => {
        impl<$($name: IntoReply),*> IntoReply for ($($name,)*) {
            #[expect(non_snake_case, reason = "each binding is named after its type")]
            fn into_reply(self, out: &mut ReplyBuffer) -> Result<()> {
                let ($($name,)*) = self;
                out.push_array($length);
                $($name.into_reply(out)?;)*
                Ok(())
            }
        }
    };
}

tuples!(2 A B);
tuples!(3 A B C);
tuples!(4 A B C D);

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(value: impl IntoReply) -> String {
        let mut out = ReplyBuffer::new();
        value.into_reply(&mut out).unwrap();
        format!("{:?}", out.into_tokens())
    }

    #[test]
    fn plain_types() {
        assert_eq!(tokens(()), "[Token::Ok]");
        assert_eq!(tokens(true), "[Token::Integer(1)]");
        assert_eq!(tokens(7u32), "[Token::Integer(7)]");
        assert_eq!(tokens("x"), "[Token::Text(\"x\")]");
        assert_eq!(tokens(vec![1u8]), "[Token::Bytes([1])]");
        assert_eq!(tokens(None::<i64>), "[Token::Nil]");
        assert_eq!(tokens(Some(1.5)), "[Token::Double(1.5)]");
    }

    #[test]
    fn nested_types_come_in_prefix_order() {
        assert_eq!(
            tokens((vec![1i64, 2], "x")),
            "[Token::Array(2), Token::Array(2), Token::Integer(1), Token::Integer(2), \
             Token::Text(\"x\")]"
        );
        assert_eq!(
            tokens(BTreeMap::from([("k", Some(1i64)), ("l", None)])),
            "[Token::Map(2), Token::Text(\"k\"), Token::Integer(1), Token::Text(\"l\"), \
             Token::Nil]"
        );
        let reply = Reply::Array(vec![
            Reply::Nil,
            Reply::Map(vec![(Reply::Ok, Reply::Bytes(vec![]))]),
        ]);
        assert_eq!(
            tokens(reply),
            "[Token::Array(2), Token::Nil, Token::Map(1), Token::Ok, Token::Bytes([])]"
        );
    }

    #[test]
    fn what_fits_no_integer_is_rejected() {
        let mut out = ReplyBuffer::new();
        let error = u64::MAX.into_reply(&mut out).unwrap_err();
        assert!(matches!(error, Rejection::Rejected(refusal) if refusal.code == "out_of_range"));
    }

    #[test]
    fn an_error_anywhere_is_the_answer() {
        let mut out = ReplyBuffer::new();
        let items = vec![Ok(1i64), Err(Rejection::not_found("x"))];
        assert!(matches!(
            items.into_reply(&mut out),
            Err(Rejection::NotFound(_))
        ));
    }
}
