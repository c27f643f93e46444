//! What comes over a wire or off a disk may be anything: decoding it gives a value or an error,
//! never a panic, and a value that was decoded is encoded again as it was.

use hostd_protocol::codec::{DecodeError, decode, encode, encode_frame, find_frame};
use hostd_protocol::{
    Batch, Call, CallError, Command, Consistency, Entry, MemberChange, Once, Request, Response,
};
use serde::{Serialize, de::DeserializeOwned};

/// xorshift64* (Vigna 2016): every run draws the same.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

fn requests() -> Vec<(u64, Request)> {
    let call = |once| {
        Request::Call(Call {
            plugin: Some("kv".into()),
            command: "set".into(),
            arguments: vec![b"key".to_vec().into(), vec![7; 300].into()],
            consistency: Consistency::Linearizable,
            once,
            timeout_ms: 10_000,
        })
    };
    let session = Once::Session {
        session: 3,
        sequence: 12,
        acknowledged: 9,
    };
    let requests = [
        call(None),
        call(Some(session)),
        call(Some(Once::Key("a-key".into()))),
        Request::OpenSession,
        Request::CloseSession { session: 3 },
        Request::Status { all: true },
        Request::Member(MemberChange::Transfer(Some(2))),
    ];
    (1..).zip(requests).collect()
}

fn entries() -> Vec<Entry> {
    let commands = vec![
        Command::OpenSession {
            principal: "alice".into(),
        },
        Command::Call {
            principal: "alice".into(),
            plugin: None,
            command: "ticket".into(),
            arguments: vec![],
            once: None,
        },
        Command::Wake,
    ];
    vec![
        Entry::Batch(Batch {
            time: 1,
            seed: [9; 16],
            commands,
        }),
        Entry::Checkpoint {
            time: 2,
            previous: None,
        },
    ]
}

/// Whatever `bytes` are, decoding them does no harm.
fn survive<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    if let Ok(value) = decode::<T>(bytes) {
        assert_eq!(decode::<T>(&encode(&value)).as_ref(), Ok(&value));
    }
}

/// Flips, cuts, doubles and fills in bytes of real messages.
fn damaged(random: &mut Random, whole: &[u8]) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len().max(1));
        match random.below(4) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            1 => bytes.truncate(at),
            2 => bytes.extend_from_within(at.min(bytes.len())..),
            // The largest numbers, where a length may be.
            _ => bytes
                .splice(at.min(bytes.len()).., [0xff; 9])
                .for_each(drop),
        }
    }
    bytes
}

#[test]
fn damaged_messages_are_errors_or_other_messages() {
    let mut random = Random(1);
    let requests: Vec<_> = requests().iter().map(encode).collect();
    let entries: Vec<_> = entries().iter().map(encode).collect();
    for _ in 0..20_000 {
        let request = &requests[random.below(requests.len())];
        survive::<(u64, Request)>(&damaged(&mut random, request));
        let entry = &entries[random.below(entries.len())];
        survive::<Entry>(&damaged(&mut random, entry));
    }
}

#[test]
fn noise_is_an_error_or_some_message() {
    let mut random = Random(2);
    for _ in 0..50_000 {
        let length = random.below(64);
        let bytes: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
        survive::<(u64, Request)>(&bytes);
        survive::<Entry>(&bytes);
        survive::<(u64, Result<Response, CallError>)>(&bytes);
    }
}

#[test]
fn frames_are_found_in_whatever_comes_and_never_beyond_it() {
    let mut random = Random(3);
    let mut stream = Vec::new();
    for request in requests() {
        encode_frame(&request, &mut stream);
    }
    const LIMIT: usize = 1_000;
    for _ in 0..20_000 {
        let bytes = damaged(&mut random, &stream);
        let mut rest = &bytes[..];
        loop {
            match find_frame(rest, LIMIT) {
                Ok(Some(frame)) => {
                    assert!(frame.end <= rest.len() && frame.len() <= LIMIT);
                    survive::<(u64, Request)>(&rest[frame.clone()]);
                    rest = &rest[frame.end..];
                }
                Ok(None) => break,
                Err(error) => {
                    assert!(
                        matches!(error, DecodeError::FrameTooLarge { .. }),
                        "{error}"
                    );
                    break;
                }
            }
        }
    }
}
