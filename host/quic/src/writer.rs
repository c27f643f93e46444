//! Frames into a sending stream: whatever is ready goes out in one write.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hostd_protocol::codec::encode_frame;
use quinn::{SendStream, WriteError};
use serde::Serialize;

/// A buffer that grew beyond this is given back once it is empty.
const KEEP_BYTES: usize = 1 << 20;

/// Bytes that the stream has taken are given back from here on, even when it never takes all.
const RECLAIM_BYTES: usize = 64 << 10;

/// Collects frames and writes them together.
#[derive(Debug, Default)]
pub struct FrameWriter {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that the stream has taken.
    written: usize,
}

impl FrameWriter {
    /// An empty writer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a frame that holds `value`.
    pub fn push<T: Serialize>(&mut self, value: &T) {
        self.reclaim();
        encode_frame(value, &mut self.buffer);
    }

    /// Bytes that the stream has not taken yet.
    pub fn pending_bytes(&self) -> usize {
        self.buffer.len() - self.written
    }

    /// Takes over frames that were encoded elsewhere. `encoded` is left empty, with a buffer to
    /// be used again.
    pub fn take(&mut self, encoded: &mut Vec<u8>) {
        if self.pending_bytes() == 0 {
            self.buffer.clear();
            self.written = 0;
            std::mem::swap(&mut self.buffer, encoded);
        } else {
            self.reclaim();
            self.buffer.append(encoded);
        }
    }

    /// Drops what was taken. Moving the rest costs no more than writing what is dropped did.
    fn reclaim(&mut self) {
        if self.written >= RECLAIM_BYTES.max(self.pending_bytes()) {
            self.buffer.drain(..self.written);
            self.written = 0;
        }
    }

    /// Hands bytes to the stream until it takes no more. Ready with the number of bytes it took
    /// once none are left; pending otherwise, see [`pending_bytes`](Self::pending_bytes).
    pub fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        stream: &mut SendStream,
    ) -> Poll<Result<usize, WriteError>> {
        let mut taken = 0;
        while self.written < self.buffer.len() {
            let count =
                ready!(Pin::new(&mut *stream).poll_write(context, &self.buffer[self.written..]))?;
            self.written += count;
            taken += count;
        }
        self.written = 0;
        if self.buffer.capacity() > KEEP_BYTES {
            self.buffer = Vec::new();
        } else {
            self.buffer.clear();
        }
        Poll::Ready(Ok(taken))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_is_never_done_does_not_make_the_buffer_grow() {
        let mut writer = FrameWriter::new();
        for _ in 0..1_000 {
            writer.push(&vec![7u8; 100_000]);
            // Never all of it.
            writer.written = writer.buffer.len() - 10;
        }
        assert!(writer.buffer.len() < 500_000, "{}", writer.buffer.len());
        assert_eq!(writer.pending_bytes(), 10);
    }
}
