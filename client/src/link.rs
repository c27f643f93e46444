//! One connection to one node: requests of many callers on one stream.
//!
//! Callers encode their requests into a shared buffer; one task writes whatever has gathered
//! there, reads whatever answers have come, and wakes who waits for them. Nothing is spawned and
//! no channel is passed through per call, except the one-shot that carries the answer.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::hash::{BuildHasherDefault, Hasher};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hostd_protocol::codec::{FRAME_BYTES_MAX, decode, encode_frame};
use hostd_protocol::{CallError, Request, Response};
use hostd_quic::{Close, Ended, FrameReader, FrameWriter, Next};
use quinn::{Connection, ReadError, RecvStream, SendStream, WriteError};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

/// Rounds of writing and reading before other tasks get their turn.
const ROUNDS_MAX: usize = 16;

/// How long a connection whose stream has ended may take to say why.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// What comes back for a request: the node's answer, or why there will be none.
pub(crate) type Answer = Result<Result<Response, CallError>, Ended>;

/// A connection that carries requests.
#[derive(Debug)]
pub(crate) struct Link {
    connection: Connection,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Encoded requests that the task has not taken yet.
    outgoing: Vec<u8>,
    waiting: HashMap<u64, oneshot::Sender<Answer>, BuildHasherDefault<IdHasher>>,
    next_id: u64,
    /// Of the task, when it has nothing to do.
    waker: Option<Waker>,
    /// Since when something is asked and nothing at all was heard.
    unheard_since: Option<Instant>,
    /// Set once, when no answer will come any more.
    ended: Option<Ended>,
}

impl Link {
    /// Opens the stream for requests on a fresh connection.
    pub(crate) async fn open(connection: Connection) -> Result<Self, Ended> {
        let (send, recv) = connection
            .open_bi()
            .await
            .map_err(|error| Ended::new(&error))?;
        let shared = Arc::new(Shared::default());
        let task = Task {
            shared: shared.clone(),
            connection: connection.clone(),
            send,
            recv,
            writer: FrameWriter::new(),
            reader: FrameReader::new(FRAME_BYTES_MAX),
            answered: Vec::new(),
        };
        tokio::spawn(task.run());
        Ok(Self { connection, shared })
    }

    /// Sends a request. It goes out with whatever else is waiting.
    pub(crate) fn send(&self, request: &Request) -> Result<Pending, Ended> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.shared.lock();
        if let Some(ended) = &state.ended {
            return Err(ended.clone());
        }
        let id = state.next_id;
        state.next_id += 1;
        encode_frame(&(id, request), &mut state.outgoing);
        state.waiting.insert(id, sender);
        if state.unheard_since.is_none() {
            state.unheard_since = Some(Instant::now());
        }
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(Pending {
            receiver,
            id,
            shared: self.shared.clone(),
            answered: false,
        })
    }

    /// Whether answers may still come.
    pub(crate) fn is_up(&self) -> bool {
        self.shared.lock().ended.is_none()
    }

    /// How long something is asked of the node and nothing at all was heard from it.
    pub(crate) fn silent_for(&self) -> Duration {
        self.shared
            .lock()
            .unheard_since
            .map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// The other side's certificate.
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        Close::Done.close(&self.connection, "");
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

/// A request whose answer is awaited. Dropping it forgets the request, which may be carried out
/// all the same.
#[derive(Debug)]
pub(crate) struct Pending {
    receiver: oneshot::Receiver<Answer>,
    id: u64,
    shared: Arc<Shared>,
    answered: bool,
}

impl Future for Pending {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        Pin::new(&mut self.receiver).poll(context).map(|answer| {
            self.answered = true;
            // The sender is dropped unused only together with the runtime.
            answer.unwrap_or_else(|_| Err(Ended::Lost("the client is shutting down".to_owned())))
        })
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.answered {
            self.shared.lock().waiting.remove(&self.id);
        }
    }
}

/// What moves the bytes.
struct Task {
    shared: Arc<Shared>,
    connection: Connection,
    send: SendStream,
    recv: RecvStream,
    writer: FrameWriter,
    reader: FrameReader,
    /// Decoded answers of one round, so that the lock is taken once for all of them.
    answered: Vec<(u64, Result<Response, CallError>)>,
}

/// Why the task stops.
enum Stop {
    /// The stream has ended; the connection may say why.
    Stream,
    Ended(Ended),
}

impl Task {
    async fn run(mut self) {
        let stop = poll_fn(|context| self.poll(context)).await;
        let ended = match stop {
            Stop::Ended(ended) => ended,
            Stop::Stream => match timeout(LAST_WORDS, self.connection.closed()).await {
                Ok(error) => Ended::new(&error),
                Err(_) => Ended::Lost("the node ended the stream".to_owned()),
            },
        };
        if self.connection.close_reason().is_none() {
            Close::Done.close(&self.connection, ended.message());
        }
        let mut state = self.shared.lock();
        let waiting = std::mem::take(&mut state.waiting);
        state.ended = Some(ended.clone());
        state.unheard_since = None;
        state.outgoing = Vec::new();
        drop(state);
        for sender in waiting.into_values() {
            let _ = sender.send(Err(ended.clone()));
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Stop> {
        for _ in 0..ROUNDS_MAX {
            match self.round(context) {
                Ok(true) => {}
                Ok(false) => return Poll::Pending,
                Err(stop) => return Poll::Ready(stop),
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes and reads once. Whether anything came in.
    fn round(&mut self, context: &mut Context<'_>) -> Result<bool, Stop> {
        {
            let mut state = self.shared.lock();
            if !state.outgoing.is_empty() {
                self.writer.take(&mut state.outgoing);
            }
            match &mut state.waker {
                Some(waker) => waker.clone_from(context.waker()),
                None => state.waker = Some(context.waker().clone()),
            }
        }
        match self.writer.poll_write(context, &mut self.send) {
            Poll::Ready(Ok(_)) | Poll::Pending => {}
            Poll::Ready(Err(WriteError::ConnectionLost(error))) => {
                return Err(Stop::Ended(Ended::new(&error)));
            }
            Poll::Ready(Err(_)) => return Err(Stop::Stream),
        }
        match self.reader.poll_fill(context, &mut self.recv) {
            Poll::Pending => return Ok(false),
            Poll::Ready(Ok(0)) => return Err(Stop::Stream),
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(ReadError::ConnectionLost(error))) => {
                return Err(Stop::Ended(Ended::new(&error)));
            }
            Poll::Ready(Err(_)) => return Err(Stop::Stream),
        }
        loop {
            match self.reader.next() {
                Next::Partial => break,
                Next::Frame(payload) => match decode(payload) {
                    Ok(answer) => self.answered.push(answer),
                    Err(error) => return Err(Stop::Ended(Ended::Lost(error.to_string()))),
                },
                Next::Oversized { length, .. } => {
                    return Err(Stop::Ended(Ended::Lost(format!(
                        "the node sent an answer of {length} bytes"
                    ))));
                }
            }
        }
        self.deliver();
        Ok(true)
    }

    fn deliver(&mut self) {
        let mut state = self.shared.lock();
        let found: Vec<_> = self
            .answered
            .drain(..)
            // Answers that nobody waits for any more are dropped here.
            .filter_map(|(id, answer)| Some((state.waiting.remove(&id)?, answer)))
            .collect();
        state.unheard_since = (!state.waiting.is_empty()).then(Instant::now);
        drop(state);
        for (sender, answer) in found {
            let _ = sender.send(Ok(answer));
        }
    }
}

/// Spreads request numbers, which are consecutive and nobody else's choice.
#[derive(Debug, Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, id: u64) {
        // Fibonacci hashing: the golden ratio of 2^64, odd.
        self.0 = (self.0 ^ id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
