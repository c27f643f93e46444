//! One file a target.

mod arguments;
mod calls;
mod certificate;
mod entries;
mod frames;
mod glob;
mod guest_memory;
mod http;
mod log_record;
mod peers;
mod protocol;
mod resp;
mod script;
mod snapshot;
mod sniff;
mod upload;
mod values;

use std::borrow::Cow;

/// A function of bytes that panics when something is wrong, and what its drivers need to know.
#[derive(Clone, Copy)]
pub struct Target {
    /// What to type.
    pub name: &'static str,
    /// What must hold.
    pub what: &'static str,
    /// Takes an input.
    pub run: fn(&[u8]),
    /// Inputs to begin with, the same in every run.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Longer inputs find nothing more.
    pub bytes_max: usize,
    /// Inputs that `cargo test` makes.
    pub inputs: u32,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    protocol::TARGET,
    entries::TARGET,
    peers::TARGET,
    frames::TARGET,
    resp::TARGET,
    sniff::TARGET,
    log_record::TARGET,
    certificate::TARGET,
    arguments::TARGET,
    values::TARGET,
    http::TARGET,
    glob::TARGET,
    snapshot::TARGET,
    guest_memory::TARGET,
    upload::TARGET,
    calls::TARGET,
    script::TARGET,
];

/// The target of that name.
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Decodes an input as one of several types, the first byte says which, and checks what holds for
/// every type: no panic, memory in proportion, and what was decoded is encoded as something that
/// decodes to the same.
///
/// Not that it is encoded as the input: postcard reads numbers in longer forms than it writes.
fn round_trip<T: serde::Serialize + serde::de::DeserializeOwned>(bytes: &[u8], factor: usize) {
    use hostd_protocol::codec::{decode, decode_prefix, encode};

    let decoded = crate::memory::bounded(bytes, factor, || decode::<T>(bytes));
    let Ok(value) = decoded else {
        // What is only malformed at its end has a good start, which must be as harmless.
        drop(decode_prefix::<T>(bytes));
        return;
    };
    // Compared as bytes: a NaN is not equal to itself.
    let encoded = encode(&value);
    // A duration whose nanoseconds make up a second may take a byte more when they are carried.
    assert!(
        encoded.len() <= bytes.len() + 1,
        "the shortest form is longer"
    );
    let again = decode::<T>(&encoded).expect("what was encoded is decoded");
    assert_eq!(encode(&again), encoded, "it comes back as something else");
}

/// A decoder's input, and what to decode it as. Now and then a few bytes stand for themselves many
/// times over: what is nested, or long, beyond what a driver writes by itself.
fn decoded_as(bytes: &[u8]) -> Option<(u8, Cow<'_, [u8]>)> {
    const REPEATED: usize = 50_000;

    let (choice, bytes) = bytes.split_first()?;
    if *choice < 240 || bytes.is_empty() {
        return Some((*choice, bytes.into()));
    }
    let (pattern, rest) = bytes.split_at(bytes.len().min(1 + usize::from(choice % 4)));
    let (choice, rest) = rest.split_first()?;
    Some((*choice, [&pattern.repeat(REPEATED), rest].concat().into()))
}

/// An input whose first byte chooses and whose others are `value`'s.
fn seed<T: serde::Serialize>(choice: u8, value: &T) -> Vec<u8> {
    let mut bytes = vec![choice];
    bytes.extend(hostd_protocol::codec::encode(value));
    bytes
}
