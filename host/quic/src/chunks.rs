//! Frames out of a receiving stream that is mostly silent: between frames it holds no buffer.

use hostd_protocol::codec::{FRAME_HEADER_BYTES, find_frame};
use quinn::{ReadError, RecvStream};
use thiserror::Error;

/// How much to take of what has come.
const CHUNK_BYTES: usize = 64 << 10;

/// Splits a stream into frames, one at a time. For streams with much to say see
/// [`FrameReader`](crate::FrameReader).
#[derive(Debug)]
pub struct FrameChunks {
    pending: Vec<u8>,
    limit: usize,
}

/// Why there is no further frame.
#[derive(Debug, Error)]
pub enum NoFrame {
    /// The stream ended between two frames.
    #[error("the stream ended")]
    Ended,
    /// The stream ended inside a frame.
    #[error("the stream ended inside a frame")]
    Cut,
    /// A frame is over the limit. What has come of it is still there.
    #[error("a frame of {0} bytes is too large")]
    TooLarge(usize),
    /// The stream or its connection broke.
    #[error(transparent)]
    Broken(#[from] ReadError),
}

impl FrameChunks {
    /// Takes payloads up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            pending: Vec::new(),
            limit,
        }
    }

    /// Waits for the first bytes.
    pub async fn begin(&mut self, stream: &mut RecvStream) -> Result<(), NoFrame> {
        match stream.read_chunk(CHUNK_BYTES, true).await? {
            Some(chunk) => self.pending.extend_from_slice(&chunk.bytes),
            None => return Err(NoFrame::Ended),
        }
        Ok(())
    }

    /// The next frame's payload. Dropping the future loses nothing.
    pub async fn next(&mut self, stream: &mut RecvStream) -> Result<Vec<u8>, NoFrame> {
        loop {
            match find_frame(&self.pending, self.limit) {
                Ok(Some(payload)) => {
                    let rest = self.pending.split_off(payload.end);
                    let mut frame = std::mem::replace(&mut self.pending, rest);
                    frame.drain(..FRAME_HEADER_BYTES);
                    if self.pending.is_empty() {
                        self.pending = Vec::new();
                    }
                    return Ok(frame);
                }
                Ok(None) => {}
                Err(_) => {
                    let length = self.pending.first_chunk().map_or(0, |length| {
                        usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX)
                    });
                    return Err(NoFrame::TooLarge(length));
                }
            }
            match stream.read_chunk(CHUNK_BYTES, true).await? {
                Some(chunk) => self.pending.extend_from_slice(&chunk.bytes),
                None if self.pending.is_empty() => return Err(NoFrame::Ended),
                None => return Err(NoFrame::Cut),
            }
        }
    }

    /// What has come and is not handed out.
    pub fn into_rest(self) -> Vec<u8> {
        self.pending
    }
}
