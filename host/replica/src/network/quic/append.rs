//! Log entries: requests one behind the other on a stream of their own, answered in order.
//!
//! The replication task writes and reads the stream itself; there is no other task in between.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::Stream;
use hostd_protocol::codec;
use hostd_quic::{Ended, FrameReader, FrameWriter, Next};
use openraft::{
    errors::RPCError,
    network::RPCOption,
    raft::{AppendEntriesRequest, AppendEntriesResponse, StreamAppendResult},
};
use quinn::{ReadError, RecvStream, SendStream};
use tokio::time::{Instant, Sleep, sleep_until};

use super::{
    Lost,
    link::{Link, open},
    network, priority, rpc_error,
};
use crate::{
    network::{Answer, Opening, Question},
    types::{GROUP, LogId, TypeConfig},
};

/// Requests that may be unanswered at the same time.
const IN_FLIGHT_MAX: usize = 256;
/// Bytes that may wait for a peer that does not take them.
const OUTBOX_BYTES_MAX: usize = 4 << 20;
/// News of a commit alone wait this long for an entry to travel with: under load one follows
/// soon, and a message less is work less for both sides. Nobody waits for the news, since the
/// heartbeats that confirm a read carry them too.
const COMMIT_DELAY: Duration = Duration::from_millis(1);
/// An answer needs the peer's disk, which may stall for longer than a heartbeat may. Whether the
/// peer lives is found out elsewhere.
const IDLE_MIN: Duration = Duration::from_secs(1);
const IDLE_HEARTBEATS: u32 = 10;

/// How long the oldest request may go without any answer coming.
pub(super) fn idle_timeout(option: &RPCOption) -> Duration {
    (option.soft_ttl() * IDLE_HEARTBEATS).max(IDLE_MIN)
}

/// An open stream.
pub(super) struct AppendStream {
    link: Arc<Link>,
    send: SendStream,
    recv: RecvStream,
    writer: FrameWriter,
    reader: FrameReader,
    next: u64,
}

impl AppendStream {
    pub(super) async fn open(link: Arc<Link>) -> Result<Self, Lost> {
        let (send, recv, reader) =
            open(link.connection(), priority::APPEND, &Opening::Append).await?;
        Ok(Self {
            link,
            send,
            recv,
            writer: FrameWriter::new(),
            reader,
            next: 0,
        })
    }

    pub(super) fn is_open(&self) -> bool {
        self.link.is_alive()
    }
}

struct InFlight {
    id: u64,
    /// Where the request's entries begin and end.
    prev: Option<LogId>,
    last: Option<LogId>,
}

/// One stream of Raft's requests, over an open stream that outlives it. Answers to requests of
/// an earlier session are skipped.
pub(super) struct Session<'s, S> {
    stream: &'s mut Option<AppendStream>,
    input: Option<S>,
    in_flight: VecDeque<InFlight>,
    idle: Duration,
    timer: Pin<Box<Sleep>>,
    /// What waits to be sent is news of a commit and nothing else; until when it may wait.
    unhurried: Option<Pin<Box<Sleep>>>,
    ended: bool,
}

type Item = Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>;

impl<'s, S> Session<'s, S>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin,
{
    pub(super) fn new(
        stream: &'s mut Option<AppendStream>,
        first: AppendEntriesRequest<TypeConfig>,
        input: S,
        idle: Duration,
    ) -> Self {
        let mut session = Self {
            stream,
            input: Some(input),
            in_flight: VecDeque::new(),
            idle,
            timer: Box::pin(sleep_until(Instant::now() + idle)),
            unhurried: None,
            ended: false,
        };
        session.ask(first);
        session
    }

    fn ask(&mut self, request: AppendEntriesRequest<TypeConfig>) {
        let Some(stream) = self.stream.as_mut() else {
            return;
        };
        if self.in_flight.is_empty() {
            self.timer.as_mut().reset(Instant::now() + self.idle);
        }
        if !request.entries.is_empty() {
            self.unhurried = None;
        } else if stream.writer.pending_bytes() == 0 {
            self.unhurried = Some(Box::pin(sleep_until(Instant::now() + COMMIT_DELAY)));
        }
        let prev = request.prev_log_id;
        let last = match request.entries.last() {
            Some(last) => Some(last.log_id),
            None => prev,
        };
        let id = stream.next;
        stream.next += 1;
        stream.writer.push(&Question {
            group: GROUP,
            id,
            body: request,
        });
        self.in_flight.push_back(InFlight { id, prev, last });
    }

    /// Takes requests from Raft as long as they may be sent.
    fn poll_input(&mut self, context: &mut Context<'_>) {
        while let (Some(stream), Some(input)) = (self.stream.as_mut(), self.input.as_mut()) {
            if self.in_flight.len() >= IN_FLIGHT_MAX
                || stream.writer.pending_bytes() >= OUTBOX_BYTES_MAX
            {
                return;
            }
            let request = match Pin::new(input).poll_next(context) {
                Poll::Ready(Some(request)) => request,
                Poll::Ready(None) => {
                    self.input = None;
                    return;
                }
                Poll::Pending => return,
            };
            self.ask(request);
        }
    }

    /// Sends what waits. Nothing depends on all of it being taken.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Result<(), String> {
        let Some(stream) = self.stream.as_mut() else {
            return Ok(());
        };
        if stream.writer.pending_bytes() == 0 {
            return Ok(());
        }
        if let Some(timer) = &mut self.unhurried {
            if !timer.as_mut().poll_timer(context) {
                return Ok(());
            }
            self.unhurried = None;
        }
        match stream.writer.poll_write(context, &mut stream.send) {
            Poll::Ready(Err(error)) => Err(error.to_string()),
            Poll::Ready(Ok(_)) | Poll::Pending => Ok(()),
        }
    }

    /// The next answer that belongs to this session.
    fn poll_answer(&mut self, context: &mut Context<'_>) -> Poll<Result<Item, String>> {
        loop {
            let Some(stream) = self.stream.as_mut() else {
                return Poll::Ready(Err("the stream is closed".into()));
            };
            match stream.reader.next() {
                Next::Frame(payload) => {
                    let answer: Answer<AppendEntriesResponse<TypeConfig>> =
                        match codec::decode(payload) {
                            Ok(answer) => answer,
                            Err(error) => return Poll::Ready(Err(error.to_string())),
                        };
                    let Some(oldest) = self.in_flight.front() else {
                        continue;
                    };
                    if answer.id < oldest.id {
                        continue;
                    }
                    if answer.id > oldest.id {
                        return Poll::Ready(Err("answers are out of order".into()));
                    }
                    let Some(asked) = self.in_flight.pop_front() else {
                        continue;
                    };
                    self.timer.as_mut().reset(Instant::now() + self.idle);
                    return Poll::Ready(match answer.body {
                        Ok(response) => Ok(Ok(response.into_stream_result(asked.prev, asked.last))),
                        Err(reason) => Err(reason),
                    });
                }
                Next::Oversized { length, .. } => {
                    return Poll::Ready(Err(format!("an answer of {length} bytes")));
                }
                Next::Partial => {}
            }
            match stream.reader.poll_fill(context, &mut stream.recv) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Err("the other side has ended the stream".into()));
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(ReadError::ConnectionLost(error))) => {
                    return Poll::Ready(Err(Ended::new(&error).message().to_owned()));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.to_string())),
            }
        }
    }

    /// The stream is of no use any more; the next session opens another.
    fn fail(&mut self, error: RPCError<TypeConfig>) -> Poll<Option<Item>> {
        *self.stream = None;
        self.ended = true;
        Poll::Ready(Some(Err(error)))
    }
}

impl<S> Stream for Session<'_, S>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin,
{
    type Item = Item;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Item>> {
        let session = self.get_mut();
        if session.ended {
            return Poll::Ready(None);
        }
        session.poll_input(context);
        if let Err(reason) = session.poll_send(context) {
            return session.fail(network(&reason));
        }
        if session.in_flight.is_empty() && session.input.is_none() {
            session.ended = true;
            return Poll::Ready(None);
        }
        match session.poll_answer(context) {
            Poll::Ready(Ok(item)) => {
                // What follows a refusal was sent for nothing.
                if !matches!(item, Ok(Ok(_))) {
                    session.ended = true;
                }
                return Poll::Ready(Some(item));
            }
            Poll::Ready(Err(reason)) => return session.fail(network(&reason)),
            Poll::Pending => {}
        }
        if !session.in_flight.is_empty() && session.timer.as_mut().poll_timer(context) {
            let lost = Lost::Broken(format!("no answer within {:?}", session.idle));
            return session.fail(rpc_error(lost));
        }
        Poll::Pending
    }
}

/// Polls a timer for whether it has run out.
trait PollTimer {
    fn poll_timer(self, context: &mut Context<'_>) -> bool;
}

impl PollTimer for Pin<&mut Sleep> {
    fn poll_timer(self, context: &mut Context<'_>) -> bool {
        std::future::Future::poll(self, context).is_ready()
    }
}
