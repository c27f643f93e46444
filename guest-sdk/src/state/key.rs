//! How keys become bytes that sort as the keys do.

use crate::{Key, Time};

/// What can be looked up in a [`Map`](super::Map): a [`StateKey`], or a borrowed form of one
/// (`str` for `String`, `[u8]` for `Vec<u8>`).
///
/// The encoding keeps order (`a < b` exactly when `a`'s bytes sort before `b`'s) and is
/// prefix-free (no key's bytes begin with another key's), so keys can stand one after another.
/// Text and bytes are escaped for that: a zero byte becomes `00 FF`, and `00 00` ends them.
/// Numbers are big-endian, signed ones with the sign bit flipped.
pub trait EncodeKey {
    /// Appends the encoding.
    fn encode_key(&self, out: &mut Vec<u8>);
}

/// A type of keys.
pub trait StateKey: EncodeKey + Sized {
    /// Takes a key off the front of `input`; `None` when there is none.
    fn decode_key(input: &mut &[u8]) -> Option<Self>;
}

impl EncodeKey for [u8] {
    fn encode_key(&self, out: &mut Vec<u8>) {
        out.reserve(self.len() + 2);
        let mut rest = self;
        while let Some(zero) = rest.iter().position(|byte| *byte == 0) {
            out.extend_from_slice(&rest[..=zero]);
            out.push(0xff);
            rest = &rest[zero + 1..];
        }
        out.extend_from_slice(rest);
        out.extend_from_slice(&[0, 0]);
    }
}

impl EncodeKey for Vec<u8> {
    fn encode_key(&self, out: &mut Vec<u8>) {
        self.as_slice().encode_key(out);
    }
}

impl StateKey for Vec<u8> {
    fn decode_key(input: &mut &[u8]) -> Option<Self> {
        let mut key = Vec::new();
        loop {
            let zero = input.iter().position(|byte| *byte == 0)?;
            key.extend_from_slice(&input[..zero]);
            let after = *input.get(zero + 1)?;
            *input = &input[zero + 2..];
            match after {
                0x00 => return Some(key),
                0xff => key.push(0),
                _ => return None,
            }
        }
    }
}

impl EncodeKey for str {
    fn encode_key(&self, out: &mut Vec<u8>) {
        self.as_bytes().encode_key(out);
    }
}

impl EncodeKey for String {
    fn encode_key(&self, out: &mut Vec<u8>) {
        self.as_bytes().encode_key(out);
    }
}

impl StateKey for String {
    fn decode_key(input: &mut &[u8]) -> Option<Self> {
        String::from_utf8(Vec::decode_key(input)?).ok()
    }
}

impl EncodeKey for Key {
    fn encode_key(&self, out: &mut Vec<u8>) {
        self.0.encode_key(out);
    }
}

impl StateKey for Key {
    fn decode_key(input: &mut &[u8]) -> Option<Self> {
        Vec::decode_key(input).map(Key)
    }
}

impl EncodeKey for () {
    fn encode_key(&self, _: &mut Vec<u8>) {}
}

impl StateKey for () {
    fn decode_key(_: &mut &[u8]) -> Option<Self> {
        Some(())
    }
}

impl EncodeKey for bool {
    fn encode_key(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
}

impl StateKey for bool {
    fn decode_key(input: &mut &[u8]) -> Option<Self> {
        match take::<1>(input)? {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }
}

impl<const N: usize> EncodeKey for [u8; N] {
    fn encode_key(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

impl<const N: usize> StateKey for [u8; N] {
    fn decode_key(input: &mut &[u8]) -> Option<Self> {
        take(input)
    }
}

impl EncodeKey for Time {
    fn encode_key(&self, out: &mut Vec<u8>) {
        self.as_nanos().encode_key(out);
    }
}

impl StateKey for Time {
    fn decode_key(input: &mut &[u8]) -> Option<Self> {
        u64::decode_key(input).map(Time::from_nanos)
    }
}

macro_rules! unsigned_keys {
    ($($type:ty)*) => {$(
        impl EncodeKey for $type {
            fn encode_key(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }
        }

        impl StateKey for $type {
            fn decode_key(input: &mut &[u8]) -> Option<Self> {
                take(input).map(<$type>::from_be_bytes)
            }
        }
    )*};
}

unsigned_keys!(u8 u16 u32 u64 u128);

macro_rules! signed_keys {
    ($($type:ty)*) => {$(
        impl EncodeKey for $type {
            fn encode_key(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&(self ^ <$type>::MIN).to_be_bytes());
            }
        }

        impl StateKey for $type {
            fn decode_key(input: &mut &[u8]) -> Option<Self> {
                take(input).map(|bytes| <$type>::from_be_bytes(bytes) ^ <$type>::MIN)
            }
        }
    )*};
}

signed_keys!(i8 i16 i32 i64 i128);

macro_rules! tuple_keys {
    ($($name:ident)*) => {
        impl<$($name: EncodeKey),*> EncodeKey for ($($name,)*) {
            #[expect(non_snake_case, reason = "each binding is named after its type")]
            fn encode_key(&self, out: &mut Vec<u8>) {
                let ($($name,)*) = self;
                $($name.encode_key(out);)*
            }
        }

        impl<$($name: StateKey),*> StateKey for ($($name,)*) {
            fn decode_key(input: &mut &[u8]) -> Option<Self> {
                Some(($($name::decode_key(input)?,)*))
            }
        }
    };
}

tuple_keys!(A B);
tuple_keys!(A B C);
tuple_keys!(A B C D);

impl<T: EncodeKey + ?Sized> EncodeKey for &T {
    fn encode_key(&self, out: &mut Vec<u8>) {
        (**self).encode_key(out);
    }
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

    fn encoded<K: EncodeKey + ?Sized>(key: &K) -> Vec<u8> {
        let mut out = Vec::new();
        key.encode_key(&mut out);
        out
    }

    /// Checks that the keys, given in order, keep their order, come back, and are prefix-free.
    fn check<K: StateKey + PartialEq + core::fmt::Debug>(keys: &[K]) {
        let bytes: Vec<_> = keys.iter().map(encoded).collect();
        for (index, key) in keys.iter().enumerate() {
            let mut input = bytes[index].as_slice();
            assert_eq!(K::decode_key(&mut input).as_ref(), Some(key));
            assert!(input.is_empty());
            for (later, other) in bytes.iter().enumerate().skip(index + 1) {
                assert!(bytes[index] < *other, "{key:?} < {:?}", keys[later]);
                assert!(!other.starts_with(&bytes[index]), "{key:?}");
            }
        }
    }

    #[test]
    fn bytes_sort_and_are_prefix_free_also_with_zeros_in_them() {
        let keys: [&[u8]; 11] = [
            b"", b"\0", b"\0\0", b"\0\x01", b"\0\xff", b"\x01", b"a", b"a\0", b"a\0b", b"ab",
            b"\xff",
        ];
        check(&keys.map(<[u8]>::to_vec));
    }

    #[test]
    fn numbers_sort_across_their_sign() {
        check(&[i64::MIN, -256, -2, -1, 0, 1, 255, 256, i64::MAX]);
        check(&[0u32, 1, 255, 256, u32::MAX]);
        check(&[Time::EPOCH, Time::from_nanos(256), Time::MAX]);
        check(&[false, true]);
    }

    #[test]
    fn tuples_sort_by_their_first_part_first() {
        check(&[
            ("a".to_string(), 9u64),
            ("a\0".to_string(), 0),
            ("a\0".to_string(), 1),
            ("aa".to_string(), 0),
            ("b".to_string(), 0),
        ]);
    }

    #[test]
    fn garbage_is_no_key() {
        assert_eq!(Vec::<u8>::decode_key(&mut b"a".as_slice()), None);
        assert_eq!(Vec::<u8>::decode_key(&mut b"a\0".as_slice()), None);
        assert_eq!(Vec::<u8>::decode_key(&mut b"a\0\x01".as_slice()), None);
        assert_eq!(String::decode_key(&mut b"\xff\0\0".as_slice()), None);
        assert_eq!(u32::decode_key(&mut b"\0\0\0".as_slice()), None);
        assert_eq!(bool::decode_key(&mut b"\x02".as_slice()), None);
    }
}
