//! The two directions of a connection, with their buffers.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};

use super::decode::{Bounds, Decoder, Malformed, Next};
use super::encode::{Value, Version, encode};
use crate::tcp::Io;
use crate::{Limits, Load};

/// Bytes that are read at once.
const READ_BYTES: usize = 16 << 10;

/// A buffer that grew beyond this is given back once it is empty.
const KEEP_BYTES: usize = 16 << 10;

/// Bytes that the stream has taken are given back from here on, even when it never takes all.
const RECLAIM_BYTES: usize = 64 << 10;

/// Bytes of answers that every connection may have waiting.
const BACKLOG_FREE_BYTES: usize = 64 << 10;

/// How often it is looked whether a client that does not read is to be cut.
const STALL_LOOK: Duration = Duration::from_secs(1);

/// How long what a client still sends is read and dropped, so that it comes to read the last answer.
const LINGER: Duration = Duration::from_secs(1);

/// Why no more can be read or written.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The other end is gone.
    Gone,
    /// It read none of its answers for too long.
    Stalled,
}

/// Answers wait, and the client takes none of them.
struct Stall {
    since: Instant,
    /// When to look again whether that goes on for too long.
    look: Pin<Box<Sleep>>,
}

impl Stall {
    fn begin() -> Self {
        Self {
            since: Instant::now(),
            look: Box::pin(sleep(STALL_LOOK)),
        }
    }
}

/// A connection's stream.
pub(crate) struct Pipe<'a, T> {
    limits: &'a Limits,
    stream: T,
    decoder: Decoder,
    output: Vec<u8>,
    /// Bytes of `output` that the stream has taken.
    written: usize,
    /// More may come.
    pub(crate) reading: bool,
    /// Runs while answers wait and the client takes none of them.
    stall: Option<Stall>,
    /// When something came last.
    active: Instant,
    idle: Pin<Box<Sleep>>,
}

impl<'a, T: Io> Pipe<'a, T> {
    /// `begun` was read before.
    pub(crate) fn new(stream: T, begun: &[u8], limits: &'a Limits) -> Self {
        let mut decoder = Decoder::default();
        decoder.push(begun);
        let active = Instant::now();
        Self {
            limits,
            stream,
            decoder,
            output: Vec::new(),
            written: 0,
            reading: true,
            stall: None,
            active,
            idle: Box::pin(sleep_until(active + limits.idle_timeout)),
        }
    }

    /// Whether more answers may be queued. Where many are not read, few may.
    pub(crate) fn has_room(&self, load: &Load) -> bool {
        let pending = self.pending();
        pending < BACKLOG_FREE_BYTES
            || (pending < self.limits.backlog_bytes_max && !load.is_backlogged(self.limits))
    }

    /// Bytes that wait to be taken.
    pub(crate) fn pending(&self) -> usize {
        self.output.len() - self.written
    }

    /// Bytes of commands that have come in part.
    pub(crate) fn held(&self) -> usize {
        self.decoder.held()
    }

    pub(crate) fn push(&mut self, value: &Value, version: Version) {
        encode(value, version, &mut self.output);
    }

    /// Adds what is encoded already.
    pub(crate) fn push_encoded(&mut self, bytes: &[u8]) {
        self.output.extend_from_slice(bytes);
    }

    /// Where answers are encoded to.
    pub(crate) fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// The next command among what has come.
    pub(crate) fn next(&mut self, bounds: &Bounds) -> Result<Next, Malformed> {
        self.decoder.next(bounds)
    }

    /// Takes in more. With 0 bytes the client has said all that it will.
    pub(crate) fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<Result<usize, Broken>> {
        // On the stack: a connection that says nothing takes no memory for what it might say.
        let mut room = [const { MaybeUninit::uninit() }; READ_BYTES];
        let mut read = ReadBuf::uninit(&mut room);
        let filled = ready!(Pin::new(&mut self.stream).poll_read(context, &mut read));
        filled.map_err(gone)?;
        self.active = Instant::now();
        self.decoder.push(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    }

    /// Whether nothing has come for longer than it may.
    pub(crate) fn poll_idle(&mut self, context: &mut Context<'_>) -> bool {
        while self.idle.as_mut().poll(context).is_ready() {
            let until = self.active + self.limits.idle_timeout;
            if until <= Instant::now() {
                return true;
            }
            self.idle.as_mut().reset(until);
        }
        false
    }

    /// Something else than bytes shows that the connection is in use.
    pub(crate) fn is_active(&mut self) {
        self.active = Instant::now();
    }

    /// Hands answers to the stream until it takes no more.
    pub(crate) fn poll_flush(
        &mut self,
        context: &mut Context<'_>,
        load: &Load,
    ) -> Result<(), Broken> {
        let before = self.pending();
        if before == 0 && self.stall.is_none() {
            return Ok(());
        }
        if self.written >= RECLAIM_BYTES.max(before) {
            // Who reads steadily and slowly never takes all.
            self.output.drain(..self.written);
            self.written = 0;
        }
        match self.poll_write(context) {
            Poll::Ready(Ok(())) => self.stall = None,
            Poll::Ready(Err(error)) => return Err(gone(error)),
            Poll::Pending => {
                if self.pending() < before {
                    self.stall = None;
                }
                let stall = self.stall.get_or_insert_with(Stall::begin);
                while stall.look.as_mut().poll(context).is_ready() {
                    // Nobody waits long for a slow reader while many are.
                    if stall.since.elapsed() >= self.limits.stall_timeout
                        || load.is_backlogged(self.limits)
                    {
                        return Err(Broken::Stalled);
                    }
                    stall.look = Box::pin(sleep(STALL_LOOK));
                }
            }
        }
        Ok(())
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.output.len() {
            let rest = &self.output[self.written..];
            let count = ready!(Pin::new(&mut self.stream).poll_write(context, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
        }
        self.written = 0;
        self.output.clear();
        self.output.shrink_to(KEEP_BYTES);
        Pin::new(&mut self.stream).poll_flush(context)
    }

    /// Ends the connection so that its last answer arrives: closing it while something of the client's
    /// is unread would have the operating system drop what the client has not read.
    pub(crate) async fn finish(mut self) {
        let drain = async {
            self.stream.shutdown().await?;
            let mut dropped = [0; 1 << 10];
            while self.stream.read(&mut dropped).await? > 0 {}
            Ok::<_, io::Error>(())
        };
        // Whether or not it came through, there is nothing more to do.
        let _ = timeout(LINGER, drain).await;
    }
}

fn gone(_: io::Error) -> Broken {
    Broken::Gone
}
