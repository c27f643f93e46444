//! One stream: requests in, answers out.
//!
//! Everything happens in one task. It reads all frames that have come, starts a future for each,
//! polls those that can go on, and writes all answers that are ready together. No task, channel
//! or timer per request: at high rates those cost more than the requests.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use hostd_protocol::codec::{decode, decode_prefix};
use hostd_protocol::{CallError, Failure, FailureCode, Request, Response};
use hostd_quic::{Close, FrameReader, FrameWriter, Next};
use quinn::{RecvStream, SendStream};
use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::gateway::Shared;
use crate::{Caller, Limits, Service};

/// How long reading and answering go on before other tasks get their turn. Reads run here, so
/// without a bound thousands that become ready together would hold up Raft's heartbeats.
const SLICE: Duration = Duration::from_micros(500);

/// Unfinished requests up to this size are not counted: every connection may have so much.
const FREE_BYTES: usize = 64 << 10;

/// A larger request that comes more slowly than this is given up.
const RATE_MIN_BYTES_PER_S: u64 = 16 << 10;

/// How long a finished stream's last bytes may take to be acknowledged.
const LINGER: Duration = Duration::from_secs(1);

type Answer = (u64, Result<Response, CallError>);

/// A stream of a client.
pub(crate) struct Exchange<S> {
    pub(crate) shared: Arc<Shared<S>>,
    pub(crate) caller: Arc<Caller>,
    /// Unanswered requests of the stream's connection.
    pub(crate) in_flight: Arc<AtomicUsize>,
}

/// How a stream ended.
#[derive(Debug)]
pub(crate) enum Finished {
    /// The client ended it, or the node is stopping; every request is answered.
    Answered,
    /// The client reset it, or is gone.
    Gone,
    /// The connection is to be closed for this reason.
    Broken(Close, String),
}

impl<S: Service> Exchange<S> {
    /// Answers requests until the stream ends. `begun` was read of it already.
    pub(crate) async fn run(self, send: SendStream, recv: RecvStream, begun: &[u8]) -> Finished {
        let Self {
            shared,
            caller,
            in_flight,
        } = &self;
        let mut stop = shared.stop.clone();
        let mut stopping = false;
        let mut pipe = Pipe::new(send, recv, &shared.limits);
        pipe.reader.feed(begun);
        let mut held = shared.load.hold();
        let mut answers = FuturesUnordered::new();
        let start = |id: u64, request: Request, bytes: usize| {
            let slot = shared
                .load
                .admit_request(&shared.limits, in_flight, bytes)
                .ok_or_else(|| (id, Err(overloaded())))?;
            Ok(async move {
                let answer = shared.service.handle(caller, request).await;
                drop(slot);
                (id, answer)
            })
        };

        let finished = loop {
            let round = poll_fn(|context| {
                let begun = Instant::now();
                loop {
                    let mut moved = false;
                    while let Some(frame) = pipe.poll_request(context, &mut moved)? {
                        match frame.and_then(|(id, request, bytes)| start(id, request, bytes)) {
                            Ok(answer) => answers.push(answer),
                            Err(refusal) => pipe.writer.push(&refusal),
                        }
                    }
                    while pipe.has_room() && begun.elapsed() < SLICE {
                        let Poll::Ready(Some(answer)) = answers.poll_next_unpin(context) else {
                            break;
                        };
                        let answer: Answer = answer;
                        pipe.writer.push(&answer);
                        moved = true;
                    }
                    let full = !pipe.has_room();
                    pipe.poll_flush(context)?;
                    let waits = pipe.writer.pending_bytes();
                    if !held.set(pipe.unfinished_bytes(), waits, &shared.limits) {
                        return Poll::Ready(Err(Finished::Broken(
                            Close::Overloaded,
                            "the node holds as much of unfinished requests as it may".to_owned(),
                        )));
                    }
                    pipe.poll_inflow(context)?;
                    // What waited for room can go on, and nothing else would wake it.
                    moved |= full && pipe.has_room();
                    if pipe.is_done() && answers.is_empty() {
                        return Poll::Ready(Ok(()));
                    }
                    if begun.elapsed() >= SLICE {
                        context.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    if !moved {
                        return Poll::Pending;
                    }
                }
            });
            tokio::select! {
                biased;
                finished = round => break finished,
                _ = stop.wait_for(|stop| *stop), if !stopping => stopping = true,
            }
            // Only reached when the node is stopping: what has been asked is still answered.
            pipe.reading = false;
        };
        match finished {
            Ok(()) => {
                pipe.finish().await;
                Finished::Answered
            }
            Err(finished) => {
                // Nobody is to wait for the rest; the reason must not queue up behind it.
                let _ = pipe.send.reset(Close::Done.code());
                finished
            }
        }
    }
}

/// The two directions of a stream, with their buffers.
struct Pipe<'a> {
    limits: &'a Limits,
    send: SendStream,
    recv: RecvStream,
    reader: FrameReader,
    writer: FrameWriter,
    /// Requests may still come.
    reading: bool,
    /// Runs while answers wait and the client takes none of them.
    stall: Option<Pin<Box<Sleep>>>,
    /// Runs while a large request has not come in full.
    inflow: Option<Inflow>,
}

/// When to look whether a request still comes, and what of it had come the last time.
struct Inflow {
    look: Pin<Box<Sleep>>,
    bytes: usize,
}

type Incoming = Result<(u64, Request, usize), Answer>;

impl<'a> Pipe<'a> {
    fn new(send: SendStream, recv: RecvStream, limits: &'a Limits) -> Self {
        Self {
            limits,
            send,
            recv,
            reader: FrameReader::new(limits.request_bytes_max),
            writer: FrameWriter::new(),
            reading: true,
            stall: None,
            inflow: None,
        }
    }

    /// What is held of requests that have not come in full, or cannot begin.
    fn unfinished_bytes(&self) -> usize {
        let bytes = self.reader.buffered_bytes();
        if bytes > FREE_BYTES { bytes } else { 0 }
    }

    /// Gives up a large request that hardly comes.
    fn poll_inflow(&mut self, context: &mut Context<'_>) -> Result<(), Finished> {
        let bytes = self.unfinished_bytes();
        if bytes == 0 || !self.has_room() {
            // Nothing is unfinished, or it is this end that does not read.
            self.inflow = None;
            return Ok(());
        }
        let wait = self.limits.stall_timeout;
        let inflow = self.inflow.get_or_insert_with(|| Inflow {
            look: Box::pin(sleep(wait)),
            bytes,
        });
        if bytes < inflow.bytes {
            // It is another one.
            inflow.bytes = bytes;
        }
        while inflow.look.as_mut().poll(context).is_ready() {
            let come = (bytes - inflow.bytes) as u64;
            if come < RATE_MIN_BYTES_PER_S * wait.as_secs() {
                return Err(Finished::Broken(
                    Close::Stalled,
                    format!("{come} bytes of a request came in {} s", wait.as_secs()),
                ));
            }
            inflow.bytes = bytes;
            inflow.look = Box::pin(sleep(wait));
        }
        Ok(())
    }

    /// Whether more answers may be queued.
    fn has_room(&self) -> bool {
        self.writer.pending_bytes() < self.limits.backlog_bytes_max
    }

    fn is_done(&self) -> bool {
        !self.reading && self.writer.pending_bytes() == 0
    }

    /// The next request, or the refusal it gets; `None` when none has come, or none may be taken.
    /// Reads at most once per round, which `moved` ends.
    fn poll_request(
        &mut self,
        context: &mut Context<'_>,
        moved: &mut bool,
    ) -> Result<Option<Incoming>, Finished> {
        if !self.reading || !self.has_room() {
            return Ok(None);
        }
        loop {
            match self.reader.next() {
                Next::Frame(payload) => {
                    let (id, request) = decode::<(u64, Request)>(payload)
                        .map_err(|error| Finished::Broken(Close::Malformed, error.to_string()))?;
                    return Ok(Some(Ok((id, request, payload.len()))));
                }
                Next::Oversized { length, prefix } => {
                    return oversized(length, prefix, self.limits).map(|answer| Some(Err(answer)));
                }
                Next::Partial if *moved => return Ok(None),
                Next::Partial => match self.reader.poll_fill(context, &mut self.recv) {
                    Poll::Pending => return Ok(None),
                    Poll::Ready(Ok(0)) if self.reader.at_boundary() => {
                        self.reading = false;
                        return Ok(None);
                    }
                    Poll::Ready(Ok(0)) => {
                        return Err(Finished::Broken(
                            Close::Malformed,
                            "the stream ends inside a frame".to_owned(),
                        ));
                    }
                    Poll::Ready(Ok(_)) => *moved = true,
                    Poll::Ready(Err(_)) => return Err(Finished::Gone),
                },
            }
        }
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Result<(), Finished> {
        let before = self.writer.pending_bytes();
        match self.writer.poll_write(context, &mut self.send) {
            Poll::Ready(Ok(_)) => self.stall = None,
            Poll::Ready(Err(_)) => return Err(Finished::Gone),
            Poll::Pending => {
                if self.writer.pending_bytes() < before {
                    self.stall = None;
                }
                let limit = self.limits.stall_timeout;
                let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(limit)));
                if stall.as_mut().poll(context).is_ready() {
                    return Err(Finished::Broken(
                        Close::Stalled,
                        format!("no answer was read for {} s", limit.as_secs()),
                    ));
                }
            }
        }
        Ok(())
    }

    /// Ends the sending side and waits until the client has all of it.
    async fn finish(mut self) {
        if self.send.finish().is_ok() {
            // Whether or not it came through, there is nothing more to do.
            let _ = timeout(LINGER, self.send.stopped()).await;
        }
    }
}

fn overloaded() -> CallError {
    Failure::new(
        FailureCode::Overloaded,
        "the node has as many unanswered requests as it may; try again shortly",
    )
    .into()
}

fn oversized(length: usize, prefix: &[u8], limits: &Limits) -> Result<Answer, Finished> {
    let limit = limits.request_bytes_max;
    let reason = format!("the request has {length} bytes, the limit is {limit}");
    if length > limits.skip_bytes_max {
        return Err(Finished::Broken(Close::TooLarge, reason));
    }
    let id = decode_prefix(prefix)
        .map_err(|error| Finished::Broken(Close::Malformed, error.to_string()))?;
    Ok((id, Err(Failure::new(FailureCode::TooLarge, reason).into())))
}
