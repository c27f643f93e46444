//! Frames out of a receiving stream: many per wakeup, out of one buffer.

use std::task::{Context, Poll, ready};

use hostd_protocol::codec::{DecodeError, FRAME_HEADER_BYTES, find_frame};
use quinn::{ReadError, RecvStream};

/// Capacity at rest, and how much room a read gets at least.
const BUFFER_BYTES: usize = 64 << 10;

/// Payload bytes of an oversized frame that [`Next::Oversized`] waits for: a request id in
/// postcard's variable-length encoding has at most ten.
const PREFIX_BYTES: usize = 16;

/// Splits a stream into frames. See [`hostd_protocol::codec`] for their form.
#[derive(Debug)]
pub struct FrameReader {
    /// `start..end` holds bytes not yet handed out.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes of an oversized frame that are still to be dropped.
    discard: usize,
    limit: usize,
}

/// What comes next in the stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// A frame's payload.
    Frame(&'a [u8]),
    /// A frame over the limit. It is skipped: later calls give what follows it.
    Oversized {
        /// The payload's stated length.
        length: usize,
        /// The payload's first bytes.
        prefix: &'a [u8],
    },
    /// The next frame has not come in full.
    Partial,
}

impl FrameReader {
    /// A reader that takes payloads up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            end: 0,
            discard: 0,
            limit,
        }
    }

    /// Reads what has arrived, as much as there is room for. Ready with 0 when the stream has
    /// ended. Take all frames with [`next`](Self::next) before reading again.
    pub fn poll_fill(
        &mut self,
        context: &mut Context<'_>,
        stream: &mut RecvStream,
    ) -> Poll<Result<usize, ReadError>> {
        let count = ready!(stream.poll_read(context, self.room()))?;
        self.filled(count);
        Poll::Ready(Ok(count))
    }

    /// Bytes that have come and were not handed out.
    pub fn buffered_bytes(&self) -> usize {
        self.end - self.start
    }

    /// Where bytes go that come from elsewhere than a QUIC stream. Say with
    /// [`filled`](Self::filled) how many there are.
    pub fn room(&mut self) -> &mut [u8] {
        self.make_room();
        &mut self.buffer[self.end..]
    }

    /// Takes in the first `count` bytes of [`room`](Self::room).
    ///
    /// # Panics
    /// When there was less room.
    pub fn filled(&mut self, count: usize) {
        assert!(
            count <= self.buffer.len() - self.end,
            "more than there was room for"
        );
        self.end += count;
        self.drop_discarded();
    }

    /// Takes in bytes that were read before.
    pub fn feed(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = self.room();
            let count = rest.len().min(room.len());
            room[..count].copy_from_slice(&rest[..count]);
            self.filled(count);
            rest = &rest[count..];
        }
    }

    /// The next frame in the buffer.
    #[expect(clippy::should_implement_trait, reason = "it lends from the buffer")]
    pub fn next(&mut self) -> Next<'_> {
        if self.discard > 0 {
            return Next::Partial;
        }
        let bytes = &self.buffer[self.start..self.end];
        match find_frame(bytes, self.limit) {
            Ok(Some(payload)) => {
                let start = self.start;
                self.start += payload.end;
                Next::Frame(&self.buffer[start + payload.start..start + payload.end])
            }
            Err(DecodeError::FrameTooLarge { length, .. }) => {
                let wanted = FRAME_HEADER_BYTES + PREFIX_BYTES.min(length);
                if bytes.len() < wanted {
                    return Next::Partial;
                }
                let prefix = self.start + FRAME_HEADER_BYTES..self.start + wanted;
                self.discard = FRAME_HEADER_BYTES + length;
                self.drop_discarded();
                Next::Oversized {
                    length,
                    prefix: &self.buffer[prefix],
                }
            }
            Ok(None) | Err(_) => Next::Partial,
        }
    }

    /// Whether the stream may end here: nothing of an unfinished frame has come.
    pub fn at_boundary(&self) -> bool {
        self.start == self.end && self.discard == 0
    }

    /// Leaves at least some free space after `end`.
    fn make_room(&mut self) {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            if self.buffer.len() != BUFFER_BYTES {
                // Gives back what a large frame took.
                self.buffer = vec![0; BUFFER_BYTES];
            }
            return;
        }
        if self.buffer.len() - self.end >= BUFFER_BYTES / 4 {
            return;
        }
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.buffer.len() - self.end < BUFFER_BYTES / 4 {
            // Grows as bytes arrive, not as a header promises.
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
    }

    fn drop_discarded(&mut self) {
        let count = self.discard.min(self.end - self.start);
        self.start += count;
        self.discard -= count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostd_protocol::Reply;
    use hostd_protocol::codec::{decode, encode_frame};

    impl FrameReader {
        /// What `poll_fill` does, from memory.
        fn fill(&mut self, bytes: &[u8]) -> usize {
            let room = self.room();
            let count = bytes.len().min(room.len());
            room[..count].copy_from_slice(&bytes[..count]);
            self.filled(count);
            count
        }
    }

    fn frames(
        reader: &mut FrameReader,
        mut bytes: &[u8],
        step: usize,
    ) -> Vec<Result<Reply, usize>> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let count = reader.fill(&bytes[..bytes.len().min(step)]);
            bytes = &bytes[count..];
            loop {
                match reader.next() {
                    Next::Frame(payload) => found.push(Ok(decode(payload).unwrap())),
                    Next::Oversized { length, prefix } => {
                        assert_eq!(prefix.len(), PREFIX_BYTES.min(length));
                        found.push(Err(length));
                    }
                    Next::Partial => break,
                }
            }
        }
        found
    }

    #[test]
    fn frames_come_out_however_the_stream_is_cut() {
        let replies: Vec<_> = [0usize, 1, 100, 70_000, 3, 300_000, 1, 65_000]
            .iter()
            .map(|length| Reply::Text("x".repeat(*length)))
            .collect();
        let mut bytes = Vec::new();
        for reply in &replies {
            encode_frame(reply, &mut bytes);
        }
        for step in [1, 7, 1_000, 16_384, usize::MAX] {
            let mut reader = FrameReader::new(1 << 20);
            let found: Vec<_> = frames(&mut reader, &bytes, step)
                .into_iter()
                .map(Result::unwrap)
                .collect();
            assert_eq!(found, replies, "step {step}");
            assert!(reader.at_boundary());
        }
    }

    #[test]
    fn an_oversized_frame_is_skipped_and_told_once() {
        let mut bytes = Vec::new();
        encode_frame(&Reply::Integer(1), &mut bytes);
        encode_frame(&Reply::Text("x".repeat(200_000)), &mut bytes);
        encode_frame(&Reply::Integer(2), &mut bytes);
        for step in [1, 1_000, usize::MAX] {
            let mut reader = FrameReader::new(1_000);
            let found = frames(&mut reader, &bytes, step);
            assert_eq!(found.len(), 3, "step {step}");
            assert_eq!(found[0], Ok(Reply::Integer(1)));
            assert!(matches!(found[1], Err(length) if length > 200_000));
            assert_eq!(found[2], Ok(Reply::Integer(2)));
            assert!(reader.buffer.len() <= 2 * BUFFER_BYTES);
        }
    }

    #[test]
    fn room_taken_by_a_large_frame_is_given_back() {
        let mut bytes = Vec::new();
        encode_frame(&Reply::Text("x".repeat(900_000)), &mut bytes);
        let mut reader = FrameReader::new(1 << 20);
        frames(&mut reader, &bytes, usize::MAX);
        assert!(reader.buffer.len() > 900_000);
        bytes.clear();
        encode_frame(&Reply::Ok, &mut bytes);
        frames(&mut reader, &bytes, usize::MAX);
        assert_eq!(reader.buffer.len(), BUFFER_BYTES);
    }
}
