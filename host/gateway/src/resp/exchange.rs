//! One connection: commands in, answers out, in order.
//!
//! Everything happens in one task, as in `quic/exchange`: it takes in what has come, begins what can be
//! under way together, and writes all answers that are ready with one call of the operating system.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Poll};
use std::time::Duration;

use hostd_protocol::{Access, Call, CallError, Consistency, Reply, Request};
use serde_bytes::ByteBuf;
use tokio::time::Instant;
use tracing::info;

use super::builtin::{self, Asking, Builtin, Step, out_of_context, sent};
use super::decode::{Bounds, Next};
use super::encode::Value;
use super::failure::{self, Asked, PUBLISH, line};
use super::pipe::{Broken, Pipe};
use super::run::{Answer, BYTES_MAX, COMMANDS_MAX, READS_MAX, Read, Run, Slot};
use super::session::{Session, TRIES_MAX};
use super::subscriptions::Subscriptions;
use crate::gateway::Shared;
use crate::limits::HeldBytes;
use crate::tcp::Io;
use crate::{Caller, Service, answer};

/// How long reading and answering go on before other tasks get their turn.
const SLICE: Duration = Duration::from_micros(500);

/// How long a call may take.
const CALL_TIMEOUT_MS: u32 = 10_000;

/// Bytes of commands that have not begun which every connection may hold.
const HELD_FREE_BYTES: usize = 64 << 10;

/// What a word of a command takes by itself.
const WORD_BYTES: usize = 48;

/// What a client may send that has not proved who it is, as in Redis.
const UNPROVED_WORDS_MAX: usize = 10;
const UNPROVED_BYTES_MAX: usize = 16 << 10;

/// How a connection ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The client ended it, or the node is stopping; every command is answered.
    Answered,
    /// The client is gone.
    Gone,
    /// The node ended it, for this reason.
    Cut(&'static str),
}

/// A connection.
pub(crate) struct Exchange<'a, S, T> {
    shared: &'a Arc<Shared<S>>,
    /// Unanswered commands of this connection.
    in_flight: &'a AtomicUsize,
    session: Session,
    pipe: Pipe<'a, T>,
    held: HeldBytes<'a>,
    queue: VecDeque<Queued>,
    /// Bytes of the commands in `queue`.
    queued_bytes: usize,
    run: Run<'a>,
}

/// What waits for its turn.
enum Queued {
    Command {
        words: Vec<Vec<u8>>,
        bytes: usize,
    },
    /// A command that is answered with an error, whatever it is.
    Refused(Value),
    /// What follows it cannot be understood.
    Last(Value),
}

/// What a command is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Builtin(Builtin),
    Plugin(Access),
    Unknown,
}

impl<'a, S: Service, T: Io> Exchange<'a, S, T> {
    pub(crate) fn new(
        shared: &'a Arc<Shared<S>>,
        in_flight: &'a AtomicUsize,
        session: Session,
        stream: T,
        begun: &[u8],
    ) -> Self {
        Self {
            shared,
            in_flight,
            session,
            pipe: Pipe::new(stream, begun, &shared.limits),
            held: shared.load.hold(),
            queue: VecDeque::new(),
            queued_bytes: 0,
            run: Run::Nothing,
        }
    }

    /// Answers commands until the connection ends.
    pub(crate) async fn run(mut self) -> Ended {
        let mut stop = self.shared.stop.clone();
        let mut stopping = false;
        let ended = loop {
            tokio::select! {
                biased;
                ended = poll_fn(|context| self.poll(context)) => break ended,
                _ = stop.wait_for(|stop| *stop), if !stopping => stopping = true,
            }
            // Only reached when the node is stopping: what has been asked is still answered.
            self.pipe.reading = false;
        };
        match ended {
            Ok(()) => {
                // Before its client learns that it is over: from then on it is not counted.
                self.session.subscriptions = None;
                self.pipe.finish().await;
                Ended::Answered
            }
            Err(ended) => ended,
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        let begun = Instant::now();
        let in_time = || begun.elapsed() < SLICE;
        loop {
            let mut moved = self.take_in(context)?;
            while self.pipe.has_room(&self.shared.load) && in_time() {
                if self.run.is_nothing() && !self.begin(context) {
                    break;
                }
                if self.run.is_nothing() {
                    moved = true;
                    continue;
                }
                let version = self.session.version;
                let polled = self.run.poll_next(context, version, self.pipe.output());
                if polled.is_pending() {
                    break;
                }
                moved = true;
            }
            moved |= self.take_messages(context)?;
            moved |= self.take_told(context, &in_time);
            self.hold()?;
            let full = !self.pipe.has_room(&self.shared.load);
            self.pipe
                .poll_flush(context, &self.shared.load)
                .map_err(ended)?;
            // What waited for room can go on, and nothing else would wake it.
            moved |= full && self.pipe.has_room(&self.shared.load);
            if self.is_done() {
                return Poll::Ready(Ok(()));
            }
            if !in_time() {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            if !moved {
                let quiet = self.pipe.poll_idle(context);
                let waits = self.session.mailbox.is_some() || self.session.is_subscribed();
                if quiet && self.run.is_nothing() && !waits {
                    return Poll::Ready(Err(Ended::Cut("it said nothing for too long")));
                }
                if quiet {
                    self.pipe.is_active();
                    continue;
                }
                return Poll::Pending;
            }
        }
    }

    fn is_done(&self) -> bool {
        let over = self.session.ends || (!self.pipe.reading && self.queue.is_empty());
        over && self.run.is_nothing() && self.pipe.pending() == 0
    }

    /// Queues commands that have come, as many as may wait. Reads once at most; returns whether it did.
    fn take_in(&mut self, context: &mut Context<'_>) -> Result<bool, Ended> {
        let mut read = false;
        loop {
            if !self.may_take_more() {
                return Ok(read);
            }
            let next = match self.pipe.next(&self.bounds()) {
                Ok(next) => next,
                Err(malformed) => {
                    self.pipe.reading = false;
                    let message = format!("Protocol error: {malformed}");
                    self.queue.push_back(Queued::Last(Value::error(message)));
                    return Ok(read);
                }
            };
            match next {
                Next::Command(words) => self.enqueue(words),
                Next::TooLarge => {
                    let limit = self.bounds().command_bytes_max;
                    let message = format!("too_large the limit of a command is {limit} bytes");
                    self.queue.push_back(Queued::Refused(Value::error(message)));
                }
                Next::Partial if read => return Ok(read),
                Next::Partial => match self.pipe.poll_fill(context) {
                    Poll::Pending => return Ok(false),
                    Poll::Ready(Ok(0)) => {
                        self.pipe.reading = false;
                        return Ok(true);
                    }
                    Poll::Ready(Ok(_)) => read = true,
                    Poll::Ready(Err(broken)) => return Err(ended(broken)),
                },
            }
        }
    }

    fn may_take_more(&self) -> bool {
        let limits = &self.shared.limits;
        self.pipe.reading
            && !self.session.ends
            && self.pipe.has_room(&self.shared.load)
            && self.queue.len() < COMMANDS_MAX.min(limits.in_flight_per_connection_max)
            && self.queued_bytes < BYTES_MAX
    }

    /// Counts what it holds of commands that have not begun, and of answers that are not read.
    fn hold(&mut self) -> Result<(), Ended> {
        let much = |bytes| if bytes > HELD_FREE_BYTES { bytes } else { 0 };
        let unfinished = much(self.pipe.held() + self.queued_bytes);
        let answers = much(self.pipe.pending());
        if self.held.set(unfinished, answers, &self.shared.limits) {
            Ok(())
        } else {
            Err(Ended::Cut(
                "the node holds as much of unfinished requests as it may",
            ))
        }
    }

    fn bounds(&self) -> Bounds {
        let limits = &self.shared.limits;
        let all = Bounds {
            words_max: hostd_protocol::ARGUMENTS_MAX + 1,
            command_bytes_max: limits.request_bytes_max,
            skip_bytes_max: limits.skip_bytes_max,
            line_bytes_max: limits.line_bytes_max,
        };
        if self.session.caller.is_some() || !self.queue.is_empty() {
            return all;
        }
        Bounds {
            words_max: UNPROVED_WORDS_MAX,
            command_bytes_max: UNPROVED_BYTES_MAX,
            skip_bytes_max: UNPROVED_BYTES_MAX,
            line_bytes_max: all.line_bytes_max.min(UNPROVED_BYTES_MAX),
        }
    }

    fn enqueue(&mut self, words: Vec<Vec<u8>>) {
        let bytes: usize = words.iter().map(|word| word.len() + WORD_BYTES).sum();
        self.queued_bytes += bytes;
        self.queue.push_back(Queued::Command { words, bytes });
    }

    /// Counts a run that begins with a command of so many bytes.
    fn admit(&self, bytes: usize) -> Option<Slot<'a>> {
        let Shared { load, limits, .. } = &**self.shared;
        load.admit_request(limits, self.in_flight, bytes)
    }

    /// Begins what is next in the queue. What needs no waiting is answered at once. Returns whether there
    /// was anything.
    fn begin(&mut self, context: &mut Context<'_>) -> bool {
        if self.session.ends {
            self.queue.clear();
            return false;
        }
        if let Some(error) = self
            .session
            .subscriptions
            .as_ref()
            .and_then(Subscriptions::ended)
        {
            self.end_for(&error);
            return true;
        }
        let (words, bytes) = match self.queue.pop_front() {
            None => return false,
            Some(Queued::Refused(error)) => {
                self.answer(&error);
                return true;
            }
            Some(Queued::Last(error)) => {
                self.answer(&error);
                self.session.ends = true;
                return true;
            }
            Some(Queued::Command { words, bytes }) => {
                self.queued_bytes -= bytes;
                (words, bytes)
            }
        };
        let Some(slot) = self.admit(bytes) else {
            self.answer(&Value::Error(
                "BUSY the node has as many unanswered requests as it may; try again shortly".into(),
            ));
            return true;
        };
        let kind = self.kind(&words);
        let allowed = |kind| matches!(kind, Kind::Builtin(one) if one.is_for_subscribers());
        if self.session.is_confined() && !allowed(kind) {
            self.answer(&out_of_context(&words[0]));
            return true;
        }
        if let Kind::Builtin(builtin) = kind {
            self.begin_builtin(builtin, words, slot);
            return true;
        }
        let Some(caller) = self.session.caller.clone() else {
            self.answer(&Value::Error(failure::no_authentication().into()));
            return true;
        };
        self.show(&words);
        let access = match kind {
            Kind::Plugin(access) => Some(access),
            _ => None,
        };
        if let Some(elsewhere) = self
            .shared
            .service
            .elsewhere(access.unwrap_or(Access::Write))
        {
            self.answer(&sent(&elsewhere));
            return true;
        }
        let Some(call) = call(words) else {
            self.answer(&Value::error("unknown command: its name is no text"));
            return true;
        };
        if access == Some(Access::Write) {
            self.begin_writes(caller, call, slot);
        } else {
            self.begin_reads(&caller, call, access, slot);
            self.run.prime(context);
        }
        true
    }

    fn begin_builtin(&mut self, builtin: Builtin, words: Vec<Vec<u8>>, slot: Slot<'a>) {
        if self.session.caller.is_none() && !builtin.is_for_everybody() {
            self.answer(&Value::Error(failure::no_authentication().into()));
            return;
        }
        let monitors = &self.shared.resp.monitors;
        if monitors.any() && !builtin.is_hidden() {
            monitors.show(&self.from(), &words, |position| {
                builtin.hides(&words, position)
            });
        }
        let mut asking = Asking {
            shared: self.shared,
            session: &mut self.session,
        };
        match builtin::answer(builtin, &mut asking, words) {
            Step::Now(value) => self.answer(&value),
            Step::Later(answer) => {
                self.run = Run::Other {
                    answer,
                    _slot: slot,
                };
            }
        }
        if self.session.tries >= TRIES_MAX {
            self.session.ends = true;
        }
    }

    /// A write, and all writes that follow it.
    fn begin_writes(&mut self, caller: Arc<Caller>, first: Call, mut slot: Slot<'a>) {
        let mut calls = vec![first];
        while calls.len() < COMMANDS_MAX
            && let Some(next) = self.next_of(Access::Write, &mut slot)
        {
            calls.push(next);
        }
        let Shared { service, resp, .. } = &**self.shared;
        let published = published(&calls);
        let answers = Box::pin(async move {
            let mut answers = service.call_in_order(&caller, calls).await;
            for (place, channel) in published {
                if let Some(answer @ Ok(Reply::Ok)) = answers.get_mut(place) {
                    *answer = Ok(Reply::Integer(resp.subscribers.told_of(&channel) as i64));
                }
            }
            answers
        });
        self.run = Run::Writes {
            answers,
            _slot: slot,
        };
    }

    /// A read, and all reads that follow it. Of what is not known, only that one.
    fn begin_reads(
        &mut self,
        caller: &Arc<Caller>,
        first: Call,
        access: Option<Access>,
        mut slot: Slot<'a>,
    ) {
        let service = &self.shared.service;
        let read = |call: Call| {
            let command = call.command.clone();
            let caller = Arc::clone(caller);
            let answer = Box::pin(async move {
                let response = service.handle(&caller, Request::Call(call)).await?;
                answer::reply(response)
            });
            Read {
                command,
                access,
                answer: Answer::Awaited(answer),
            }
        };
        let mut reads = VecDeque::from([read(first)]);
        while access.is_some()
            && reads.len() < READS_MAX
            && let Some(next) = self.next_of(Access::Read, &mut slot)
        {
            reads.push_back(read(next));
        }
        self.run = Run::Reads { reads, _slot: slot };
    }

    /// Takes the next command out of the queue if it is a plugin's with this access, and there is room
    /// for it in the run.
    fn next_of(&mut self, access: Access, slot: &mut Slot<'a>) -> Option<Call> {
        let Queued::Command { words, bytes } = self.queue.front()? else {
            return None;
        };
        let bytes = *bytes;
        if self.kind(words) != Kind::Plugin(access) || !slot.grow(&self.shared.limits, bytes) {
            return None;
        }
        self.show(words);
        let Some(Queued::Command { words, .. }) = self.queue.pop_front() else {
            return None;
        };
        self.queued_bytes -= bytes;
        // It was found by its name, which is text therefore.
        call(words)
    }

    fn kind(&self, words: &[Vec<u8>]) -> Kind {
        if let Some(builtin) = Builtin::named(&words[0]) {
            return Kind::Builtin(builtin);
        }
        let Ok(name) = std::str::from_utf8(&words[0]) else {
            return Kind::Unknown;
        };
        let access = |found: Option<(&str, &hostd_protocol::CommandDescription)>| {
            found.map_or(Kind::Unknown, |(_, command)| Kind::Plugin(command.access))
        };
        self.shared.service.describe(name, access)
    }

    /// Shows a plugin's command to those who watch.
    fn show(&self, words: &[Vec<u8>]) {
        let monitors = &self.shared.resp.monitors;
        if !monitors.any() {
            return;
        }
        let arguments = &words[1..];
        let name = std::str::from_utf8(&words[0]);
        let secrets = name.ok().and_then(|name| {
            let of = |(_, command): (&str, &hostd_protocol::CommandDescription)| {
                command.secrets(arguments)
            };
            self.shared.service.describe(name, |found| found.map(of))
        });
        monitors.show(&self.from(), words, |position| {
            // Of what this node does not know, nobody knows what is secret.
            let hidden = |secrets: &Vec<bool>| secrets.get(position - 1).copied().unwrap_or(false);
            position > 0 && secrets.as_ref().is_none_or(hidden)
        });
    }

    fn from(&self) -> String {
        self.session.guest.from.to_string()
    }

    fn answer(&mut self, value: &Value) {
        self.pipe.push(value, self.session.version);
    }

    /// Queues what the connection has subscribed to, as much as its client takes.
    fn take_told(&mut self, context: &mut Context<'_>, in_time: &impl Fn() -> bool) -> bool {
        let Some(subscriptions) = &self.session.subscriptions else {
            return false;
        };
        let version = self.session.version;
        let mut moved = false;
        while !self.session.ends && self.pipe.has_room(&self.shared.load) && in_time() {
            let output = self.pipe.output();
            if subscriptions
                .poll_message(context, version, output)
                .is_pending()
            {
                break;
            }
            moved = true;
        }
        moved
    }

    /// Ends the connection since a subscription has ended. It is told why between answers, so that this is
    /// taken for no command's that may have been done.
    fn end_for(&mut self, error: &CallError) {
        let asked = Asked {
            command: None,
            writes: false,
        };
        let reason = line(error, asked);
        info!(from = %self.session.guest.from, id = self.session.id, reason, "a subscription has ended, and its connection with it");
        self.answer(&Value::Error(reason));
        self.session.ends = true;
        self.queue.clear();
    }

    /// Queues what the connection is sent unasked.
    fn take_messages(&mut self, context: &mut Context<'_>) -> Result<bool, Ended> {
        const UNREAD: Ended = Ended::Cut("it does not read what it asked to be sent");
        const REVOKED: Ended = Ended::Cut("it may not see the calls of others any more");
        let Some(mailbox) = &self.session.mailbox else {
            return Ok(false);
        };
        let mut moved = false;
        while self.pipe.has_room(&self.shared.load) {
            match mailbox.poll_next(context) {
                Poll::Pending => return Ok(moved),
                Poll::Ready(Ok(message)) => {
                    let caller = self.session.caller.as_ref();
                    if !caller.is_some_and(|caller| self.shared.service.may_still_monitor(caller)) {
                        return Err(REVOKED);
                    }
                    self.pipe.push_encoded(&message);
                }
                Poll::Ready(Err(_)) => return Err(UNREAD),
            }
            moved = true;
        }
        match mailbox.poll_overflowed(context) {
            Poll::Ready(_) => Err(UNREAD),
            Poll::Pending => Ok(moved),
        }
    }
}

fn ended(broken: Broken) -> Ended {
    match broken {
        Broken::Gone => Ended::Gone,
        Broken::Stalled => Ended::Cut("it read none of its answers for too long"),
    }
}

/// The calls that publish as Redis's PUBLISH does, by their places, and the channels they publish on.
fn published(calls: &[Call]) -> Vec<(usize, ByteBuf)> {
    let calls = calls.iter().enumerate();
    calls
        .filter_map(|(place, call)| match call.arguments.as_slice() {
            [channel, _] if call.command.eq_ignore_ascii_case(PUBLISH) => {
                Some((place, channel.clone()))
            }
            _ => None,
        })
        .collect()
}

/// The call of a plugin's command; `None` when its name is no text.
fn call(words: Vec<Vec<u8>>) -> Option<Call> {
    let mut words = words.into_iter();
    let command = String::from_utf8(words.next()?).ok()?;
    Some(Call {
        plugin: None,
        command,
        arguments: words.map(Into::into).collect(),
        consistency: Consistency::Linearizable,
        once: None,
        timeout_ms: CALL_TIMEOUT_MS,
    })
}
