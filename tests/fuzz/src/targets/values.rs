//! What plugins keep in their state, read back by the SDK: keys that sort as what they stand for,
//! values that come back.

use std::fmt::Debug;

use hostd_sdk::state::{StateKey, StateValue};
use hostd_sdk::{Key, Time};

use super::Target;

pub(super) const TARGET: Target = Target {
    name: "values",
    what: "state keys and values decode or fail, come back as they were, and keys keep order",
    run,
    seeds,
    bytes_max: 512,
    inputs: 300_000,
};

fn run(bytes: &[u8]) {
    let Some((choice, bytes)) = bytes.split_first() else {
        return;
    };
    match choice % 16 {
        0 => key::<Vec<u8>>(bytes),
        1 => key::<String>(bytes),
        2 => key::<(String, u64)>(bytes),
        3 => key::<(Vec<u8>, Vec<u8>)>(bytes),
        4 => key::<i64>(bytes),
        5 => key::<(bool, i32, Time)>(bytes),
        6 => key::<Key>(bytes),
        7 => value::<Vec<u8>>(bytes),
        8 => value::<String>(bytes),
        9 => value::<Vec<String>>(bytes),
        10 => value::<Vec<Vec<u32>>>(bytes),
        11 => value::<(u64, Option<String>, Vec<u8>)>(bytes),
        12 => value::<Option<Option<bool>>>(bytes),
        13 => value::<Vec<(bool, Option<Vec<u8>>)>>(bytes),
        14 => value::<[u8; 7]>(bytes),
        _ => value::<(i128, Time)>(bytes),
    }
}

/// Takes keys off the front for as long as there are any.
fn key<K: StateKey + Ord + Debug>(mut bytes: &[u8]) {
    let mut last: Option<(K, Vec<u8>)> = None;
    while !bytes.is_empty() {
        let before = bytes;
        let Some(key) = crate::memory::bounded(bytes, 64, || K::decode_key(&mut bytes)) else {
            return;
        };
        let taken = &before[..before.len() - bytes.len()];
        assert!(!taken.is_empty(), "nothing was taken");
        let mut encoded = Vec::new();
        key.encode_key(&mut encoded);
        assert_eq!(encoded, taken, "there is one encoding of {key:?}");
        if let Some((other, other_encoded)) = &last {
            assert_eq!(other.cmp(&key), other_encoded.cmp(&encoded));
            assert!(other == &key || !encoded.starts_with(other_encoded));
        }
        last = Some((key, encoded));
    }
}

fn value<V: StateValue + PartialEq + Debug>(bytes: &[u8]) {
    let stored = bytes.to_vec();
    let alone = crate::memory::bounded(bytes, 64, || V::from_stored(stored));
    if let Some(value) = alone {
        let again = V::from_stored(value.to_stored().into_owned());
        assert_eq!(again.as_ref(), Some(&value));
    }
    let mut input = bytes;
    if let Some(value) = crate::memory::bounded(bytes, 64, || V::decode_value(&mut input)) {
        let mut encoded = Vec::new();
        value.encode_value(&mut encoded);
        assert!(encoded.len() <= bytes.len() - input.len());
        encoded.extend_from_slice(b"next");
        let mut input = encoded.as_slice();
        assert_eq!(V::decode_value(&mut input).as_ref(), Some(&value));
        assert_eq!(input, b"next");
    }
}

fn seeds() -> Vec<Vec<u8>> {
    use hostd_sdk::state::{EncodeKey as _, EncodeValue as _};

    let mut seeds = Vec::new();
    let mut add = |choice: u8, encode: fn(&mut Vec<u8>)| {
        let mut bytes = vec![choice];
        encode(&mut bytes);
        seeds.push(bytes);
    };
    add(0, |out| {
        b"a\0b".encode_key(out);
        vec![0u8, 255].encode_key(out);
    });
    add(2, |out| ("x".to_owned(), 7u64).encode_key(out));
    add(4, |out| {
        (-5i64).encode_key(out);
        5i64.encode_key(out);
    });
    add(5, |out| (true, -1i32, Time::from_nanos(9)).encode_key(out));
    add(9, |out| {
        vec!["a".to_owned(), String::new()].encode_value(out);
    });
    add(10, |out| vec![vec![1u32, 2], vec![]].encode_value(out));
    add(11, |out| {
        (7u64, Some("x".to_owned()), vec![1u8]).encode_value(out);
    });
    add(13, |out| {
        vec![(true, Some(vec![1u8])), (false, None)].encode_value(out);
    });
    seeds
}
