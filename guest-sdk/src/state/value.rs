//! How values become bytes.

use std::borrow::Cow;

use crate::{Key, Time};

/// What can be stored: a [`StateValue`], or a borrowed form of one (`str` for `String`, `[u8]`
/// for `Vec<u8>`).
pub trait EncodeValue {
    /// Appends the encoding, from which the value's end can be told.
    fn encode_value(&self, out: &mut Vec<u8>);

    /// The bytes to store when the value stands alone. Text and bytes are stored as they are.
    fn to_stored(&self) -> Cow<'_, [u8]> {
        let mut out = Vec::new();
        self.encode_value(&mut out);
        Cow::Owned(out)
    }
}

/// A type of values: numbers, text, bytes, `Option`, `Vec` and tuples of values, and structs and
/// enums with [`#[derive(StateValue)]`](derive@crate::StateValue).
///
/// Numbers have a fixed width, little-endian; text, bytes and `Vec` have their length in front
/// when they are part of something. The encoding does not name its type: what was written as one
/// type must be read as the same one. With the feature `serde`, `Serde<T>` stores any serde type.
pub trait StateValue: EncodeValue + Sized {
    /// Takes a value off the front of `input`; `None` when there is none.
    fn decode_value(input: &mut &[u8]) -> Option<Self>;

    /// Reads a value that stands alone; `None` when the bytes are no such value.
    fn from_stored(bytes: Vec<u8>) -> Option<Self> {
        let mut input = bytes.as_slice();
        let value = Self::decode_value(&mut input)?;
        input.is_empty().then_some(value)
    }
}

impl EncodeValue for [u8] {
    fn encode_value(&self, out: &mut Vec<u8>) {
        encode_length(self.len(), out);
        out.extend_from_slice(self);
    }

    fn to_stored(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self)
    }
}

impl EncodeValue for Vec<u8> {
    fn encode_value(&self, out: &mut Vec<u8>) {
        self.as_slice().encode_value(out);
    }

    fn to_stored(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self)
    }
}

impl StateValue for Vec<u8> {
    fn decode_value(input: &mut &[u8]) -> Option<Self> {
        decode_bytes(input).map(<[u8]>::to_vec)
    }

    fn from_stored(bytes: Vec<u8>) -> Option<Self> {
        Some(bytes)
    }
}

impl EncodeValue for str {
    fn encode_value(&self, out: &mut Vec<u8>) {
        self.as_bytes().encode_value(out);
    }

    fn to_stored(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self.as_bytes())
    }
}

impl EncodeValue for String {
    fn encode_value(&self, out: &mut Vec<u8>) {
        self.as_bytes().encode_value(out);
    }

    fn to_stored(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self.as_bytes())
    }
}

impl StateValue for String {
    fn decode_value(input: &mut &[u8]) -> Option<Self> {
        String::from_utf8(Vec::decode_value(input)?).ok()
    }

    fn from_stored(bytes: Vec<u8>) -> Option<Self> {
        String::from_utf8(bytes).ok()
    }
}

impl EncodeValue for Key {
    fn encode_value(&self, out: &mut Vec<u8>) {
        self.0.encode_value(out);
    }

    fn to_stored(&self) -> Cow<'_, [u8]> {
        self.0.to_stored()
    }
}

impl StateValue for Key {
    fn decode_value(input: &mut &[u8]) -> Option<Self> {
        Vec::decode_value(input).map(Key)
    }

    fn from_stored(bytes: Vec<u8>) -> Option<Self> {
        Some(Key(bytes))
    }
}

impl EncodeValue for () {
    fn encode_value(&self, _: &mut Vec<u8>) {}
}

impl StateValue for () {
    fn decode_value(_: &mut &[u8]) -> Option<Self> {
        Some(())
    }
}

impl EncodeValue for bool {
    fn encode_value(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
}

impl StateValue for bool {
    fn decode_value(input: &mut &[u8]) -> Option<Self> {
        match take::<1>(input)? {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }
}

impl<const N: usize> EncodeValue for [u8; N] {
    fn encode_value(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

impl<const N: usize> StateValue for [u8; N] {
    fn decode_value(input: &mut &[u8]) -> Option<Self> {
        take(input)
    }
}

impl EncodeValue for Time {
    fn encode_value(&self, out: &mut Vec<u8>) {
        self.as_nanos().encode_value(out);
    }
}

impl StateValue for Time {
    fn decode_value(input: &mut &[u8]) -> Option<Self> {
        u64::decode_value(input).map(Time::from_nanos)
    }
}

macro_rules! number_values {
    ($($type:ty)*) => {$(
        impl EncodeValue for $type {
            fn encode_value(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
        }

        impl StateValue for $type {
            fn decode_value(input: &mut &[u8]) -> Option<Self> {
                take(input).map(<$type>::from_le_bytes)
            }
        }
    )*};
}

// Not `u8`: a `Vec` of it is bytes.
number_values!(u16 u32 u64 u128 i8 i16 i32 i64 i128 f32 f64);

impl<T: EncodeValue> EncodeValue for Option<T> {
    fn encode_value(&self, out: &mut Vec<u8>) {
        match self {
            None => out.push(0),
            Some(value) => {
                out.push(1);
                value.encode_value(out);
            }
        }
    }
}

impl<T: StateValue> StateValue for Option<T> {
    fn decode_value(input: &mut &[u8]) -> Option<Self> {
        match take::<1>(input)? {
            [0] => Some(None),
            [1] => T::decode_value(input).map(Some),
            _ => None,
        }
    }
}

impl<T: EncodeValue> EncodeValue for Vec<T> {
    fn encode_value(&self, out: &mut Vec<u8>) {
        encode_length(self.len(), out);
        for item in self {
            item.encode_value(out);
        }
    }
}

impl<T: StateValue> StateValue for Vec<T> {
    fn decode_value(input: &mut &[u8]) -> Option<Self> {
        let length = decode_length(input)?;
        // Bounded by what is there, in case the length is garbage.
        let mut items = Vec::with_capacity(length.min(input.len()));
        for _ in 0..length {
            items.push(T::decode_value(input)?);
        }
        Some(items)
    }
}

macro_rules! tuple_values {
    ($($name:ident)*) => {
        impl<$($name: EncodeValue),*> EncodeValue for ($($name,)*) {
            #[expect(non_snake_case, reason = "each binding is named after its type")]
            fn encode_value(&self, out: &mut Vec<u8>) {
                let ($($name,)*) = self;
                $($name.encode_value(out);)*
            }
        }

        impl<$($name: StateValue),*> StateValue for ($($name,)*) {
            fn decode_value(input: &mut &[u8]) -> Option<Self> {
                Some(($($name::decode_value(input)?,)*))
            }
        }
    };
}

tuple_values!(A B);
tuple_values!(A B C);
tuple_values!(A B C D);

impl<T: EncodeValue + ?Sized> EncodeValue for &T {
    fn encode_value(&self, out: &mut Vec<u8>) {
        (**self).encode_value(out);
    }

    fn to_stored(&self) -> Cow<'_, [u8]> {
        (**self).to_stored()
    }
}

/// Stores any type that serde knows, in postcard's encoding.
///
/// # Panics
/// Storing panics when serde cannot serialize the value.
#[cfg(feature = "serde")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Serde<T>(pub T);

#[cfg(feature = "serde")]
impl<T: serde::Serialize> EncodeValue for Serde<T> {
    fn encode_value(&self, out: &mut Vec<u8>) {
        let taken = core::mem::take(out);
        *out = postcard::to_extend(&self.0, taken).expect("the value can be serialized");
    }
}

#[cfg(feature = "serde")]
impl<T: serde::Serialize + serde::de::DeserializeOwned> StateValue for Serde<T> {
    fn decode_value(input: &mut &[u8]) -> Option<Self> {
        let (value, rest) = postcard::take_from_bytes(input).ok()?;
        *input = rest;
        Some(Self(value))
    }
}

/// A length in seven bits a byte, low bits first, the top bit set on all but the last.
fn encode_length(mut length: usize, out: &mut Vec<u8>) {
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

fn decode_length(input: &mut &[u8]) -> Option<usize> {
    let mut length = 0u32;
    for shift in (0..32).step_by(7) {
        let [byte] = take(input)?;
        length |= u32::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(length as usize);
        }
    }
    None
}

fn decode_bytes<'input>(input: &mut &'input [u8]) -> Option<&'input [u8]> {
    let length = decode_length(input)?;
    let (bytes, rest) = input.split_at_checked(length)?;
    *input = rest;
    Some(bytes)
}

/// Takes the first `N` bytes off `input`.
fn take<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = input.split_first_chunk()?;
    *input = rest;
    Some(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<V: StateValue + PartialEq + core::fmt::Debug>(value: V) {
        let stored = value.to_stored().into_owned();
        assert_eq!(V::from_stored(stored).as_ref(), Some(&value));
        // Inside something else, the value ends where the next one begins.
        let mut out = Vec::new();
        value.encode_value(&mut out);
        out.extend_from_slice(b"next");
        let mut input = out.as_slice();
        assert_eq!(V::decode_value(&mut input), Some(value));
        assert_eq!(input, b"next");
    }

    #[test]
    fn values_come_back() {
        check(-7i64);
        check(1.5f64);
        check(true);
        check(());
        check([1u8, 2, 3]);
        check(Time::from_secs(5));
        check("text".to_string());
        check(vec![0u8; 300]);
        check(Vec::<u8>::new());
        check(Some("text".to_string()));
        check(None::<u32>);
        check(vec![vec![1u8], vec![], vec![2, 3]]);
        check((1u32, "text".to_string(), vec![9u8], Some(-1i64)));
    }

    #[test]
    fn text_and_bytes_alone_are_stored_as_they_are() {
        assert_eq!("text".to_stored().as_ref(), b"text");
        assert_eq!(vec![1u8, 2].to_stored().as_ref(), [1, 2]);
        assert!(matches!(b"x".as_slice().to_stored(), Cow::Borrowed(b"x")));
    }

    #[test]
    fn garbage_is_no_value() {
        assert_eq!(u64::from_stored(vec![0; 7]), None);
        assert_eq!(u64::from_stored(vec![0; 9]), None);
        assert_eq!(String::from_stored(vec![0xff]), None);
        assert_eq!(Option::<u32>::from_stored(vec![2]), None);
        assert_eq!(<(u32, Vec<u8>)>::from_stored(vec![0, 0, 0, 0, 9]), None);
        assert_eq!(Vec::<u32>::from_stored(vec![0xff; 5]), None);
        assert_eq!(Vec::<()>::from_stored(vec![0xff; 6]), None);
    }

    #[cfg(feature = "serde")]
    #[test]
    fn serde_types_come_back() {
        check(Serde(("text".to_string(), vec![1u16, 2])));
        assert_eq!(Serde::<String>::from_stored(vec![9]), None);
    }
}
