//! A stream of bytes, cut anywhere, into frames.

use arbitrary::Unstructured;
use hostd_protocol::Reply;
use hostd_protocol::codec::{FRAME_HEADER_BYTES, encode_frame};
use hostd_quic::{FrameReader, Next};

use super::Target;

pub(super) const TARGET: Target = Target {
    name: "frames",
    what: "however a stream is cut, the same frames come out, and memory is bounded by what came",
    run,
    seeds,
    bytes_max: 4096,
    inputs: 20_000,
};

/// Payloads up to this length are taken.
const LIMIT: usize = 700;

/// Payload bytes of an oversized frame that are told.
const PREFIX_BYTES: usize = 16;

/// What is found in a stream.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Frame(Vec<u8>),
    Oversized(usize, Vec<u8>),
}

fn run(bytes: &[u8]) {
    let mut choices = Unstructured::new(bytes);
    let Ok(repeat) = choices.int_in_range(0..=3u8) else {
        return;
    };
    let cuts: Vec<u16> = (0..4)
        .map(|_| choices.arbitrary().unwrap_or_default())
        .collect();
    // Long streams of short inputs: what lies behind the buffer's end matters too.
    let stream = choices.take_rest().repeat(1 << (4 * repeat));
    if stream.len() > 1 << 20 {
        return;
    }
    let expected = split(&stream);
    let mut reader = FrameReader::new(LIMIT);
    let (mut found, mut boundary) = (Vec::new(), true);
    crate::memory::bounded(&stream, 4, || {
        let mut rest = &stream[..];
        let mut cuts = cuts.iter().cycle();
        while !rest.is_empty() {
            let room = reader.room();
            assert!(!room.is_empty(), "no room");
            let cut = 1 + usize::from(*cuts.next().expect("there are four"));
            let count = cut.min(rest.len()).min(room.len());
            room[..count].copy_from_slice(&rest[..count]);
            reader.filled(count);
            rest = &rest[count..];
            loop {
                found.push(match reader.next() {
                    Next::Frame(payload) => Found::Frame(payload.to_vec()),
                    Next::Oversized { length, prefix } => Found::Oversized(length, prefix.to_vec()),
                    Next::Partial => break,
                });
            }
        }
        boundary = reader.at_boundary();
    });
    assert_eq!(found, expected.0);
    assert_eq!(boundary, expected.1);
}

/// The frames of a whole stream, and whether it ends behind one.
fn split(mut stream: &[u8]) -> (Vec<Found>, bool) {
    let mut found = Vec::new();
    loop {
        if stream.is_empty() {
            return (found, true);
        }
        let Some((header, rest)) = stream.split_first_chunk::<FRAME_HEADER_BYTES>() else {
            return (found, false);
        };
        let length = u32::from_le_bytes(*header) as usize;
        if length <= LIMIT {
            let Some((payload, rest)) = rest.split_at_checked(length) else {
                return (found, false);
            };
            found.push(Found::Frame(payload.to_vec()));
            stream = rest;
        } else {
            let Some(prefix) = rest.get(..PREFIX_BYTES.min(length)) else {
                return (found, false);
            };
            found.push(Found::Oversized(length, prefix.to_vec()));
            let Some(rest) = rest.get(length..) else {
                return (found, false);
            };
            stream = rest;
        }
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let mut stream = Vec::new();
    for length in [0usize, 1, 100, 600, 3, 900, 2] {
        encode_frame(&Reply::Text("x".repeat(length)), &mut stream);
    }
    let with = |repeat: u8, cuts: [u16; 4]| {
        let cuts = cuts.iter().flat_map(|cut| cut.to_le_bytes());
        [repeat]
            .into_iter()
            .chain(cuts)
            .chain(stream.iter().copied())
            .collect()
    };
    vec![
        with(0, [0; 4]),
        with(1, [3, 60, 2, 900]),
        with(2, [65_000, 1, 16_000, 9]),
    ]
}
