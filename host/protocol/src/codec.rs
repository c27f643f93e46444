//! Encoding: postcard (<https://postcard.jamesmunns.com/wire-format>) inside length-prefixed
//! frames.
//!
//! A frame is a little-endian `u32` payload length, then the payload. A reader checks the length
//! against its limit before it allocates.

use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;

/// Bytes of a frame's length prefix.
pub const FRAME_HEADER_BYTES: usize = 4;

/// Largest frame on a client or peer stream: the largest batch plus some room.
pub const FRAME_BYTES_MAX: usize = 64 << 20;

/// Why bytes could not be decoded.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// The bytes are not an encoding of the expected type.
    #[error("malformed message: {0}")]
    Malformed(#[from] postcard::Error),
    /// The message decoded but bytes are left over.
    #[error("malformed message: {0} bytes too many")]
    Trailing(usize),
    /// A frame says that it is larger than the reader accepts.
    #[error("frame of {length} bytes is over the limit of {limit} bytes")]
    FrameTooLarge {
        /// The frame's stated length.
        length: usize,
        /// The reader's limit.
        limit: usize,
    },
}

/// Encodes a value.
///
/// # Panics
/// Never for the types of this crate: postcard fails only on sequences of unknown length.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_allocvec(value).expect("protocol types have a postcard encoding")
}

/// Decodes a value that must fill `bytes` exactly.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let (value, rest) = postcard::take_from_bytes(bytes)?;
    if rest.is_empty() {
        Ok(value)
    } else {
        Err(DecodeError::Trailing(rest.len()))
    }
}

/// Decodes a value at the start of `bytes` and ignores what follows.
pub fn decode_prefix<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let (value, _) = postcard::take_from_bytes(bytes)?;
    Ok(value)
}

/// Appends a frame holding `value` to `buffer`.
pub fn encode_frame<T: Serialize>(value: &T, buffer: &mut Vec<u8>) {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
    let taken = std::mem::take(buffer);
    *buffer = postcard::to_extend(value, taken).expect("protocol types have a postcard encoding");
    let length =
        u32::try_from(buffer.len() - start - FRAME_HEADER_BYTES).expect("frames are below 4 GiB");
    buffer[start..start + FRAME_HEADER_BYTES].copy_from_slice(&length.to_le_bytes());
}

/// Finds the first complete frame in `buffer`: `Ok(None)` while more bytes are needed, else the
/// range of its payload. The next frame starts at the range's end.
pub fn find_frame(
    buffer: &[u8],
    limit: usize,
) -> Result<Option<std::ops::Range<usize>>, DecodeError> {
    let Some(header) = buffer.first_chunk::<FRAME_HEADER_BYTES>() else {
        return Ok(None);
    };
    let length = u32::from_le_bytes(*header) as usize;
    if length > limit {
        return Err(DecodeError::FrameTooLarge { length, limit });
    }
    let end = FRAME_HEADER_BYTES + length;
    Ok((buffer.len() >= end).then_some(FRAME_HEADER_BYTES..end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Reply, Request};

    #[test]
    fn frames_round_trip_one_after_another() {
        let mut buffer = Vec::new();
        encode_frame(&(7u64, Request::Commands), &mut buffer);
        encode_frame(&(8u64, Request::Members), &mut buffer);
        let first = find_frame(&buffer, 100).unwrap().unwrap();
        assert_eq!(
            decode::<(u64, Request)>(&buffer[first.clone()]).unwrap(),
            (7, Request::Commands)
        );
        let rest = &buffer[first.end..];
        let second = find_frame(rest, 100).unwrap().unwrap();
        assert_eq!(
            decode::<(u64, Request)>(&rest[second]).unwrap(),
            (8, Request::Members)
        );
    }

    #[test]
    fn a_partial_frame_waits_and_a_huge_one_is_refused_before_its_bytes_arrive() {
        let mut buffer = Vec::new();
        encode_frame(&Reply::Text("hello".into()), &mut buffer);
        assert_eq!(find_frame(&buffer[..buffer.len() - 1], 100).unwrap(), None);
        assert_eq!(find_frame(&buffer[..2], 100).unwrap(), None);
        let huge = u32::MAX.to_le_bytes();
        assert!(matches!(
            find_frame(&huge, 100),
            Err(DecodeError::FrameTooLarge { limit: 100, .. })
        ));
    }

    #[test]
    fn left_over_bytes_are_an_error() {
        let mut bytes = encode(&Reply::Ok);
        bytes.push(0);
        assert_eq!(decode::<Reply>(&bytes), Err(DecodeError::Trailing(1)));
    }
}
