//! Commands of plugins that are under way together.
//!
//! Of one connection, either consecutive writes are, which the service logs in their order and which
//! share log entries; or consecutive reads, which share what it costs to be up to date. What comes
//! behind waits until they are answered: so a read sees the writes sent before it, and none sent after.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Poll};

use hostd_protocol::{Access, CallError, Reply};

use super::encode::{Value, Version, encode, encode_reply};
use super::failure::{Asked, line};
use crate::limits::{Load, RequestSlot};

/// A counted run of a connection.
pub(crate) type Slot<'a> = RequestSlot<&'a Load, &'a AtomicUsize>;

/// Commands in one run.
pub(crate) const COMMANDS_MAX: usize = 1_024;

/// Reads in one run. They share one round of being up to date, and few are as good as many.
pub(crate) const READS_MAX: usize = 128;

/// Bytes of the writes in one run, unless a single one has more.
pub(crate) const BYTES_MAX: usize = 1 << 20;

pub(crate) type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a connection waits for.
#[derive(Default)]
pub(crate) enum Run<'a> {
    #[default]
    Nothing,
    /// Writes, in their order.
    Writes {
        answers: Later<'a, Vec<Result<Reply, CallError>>>,
        /// Held until they are answered.
        _slot: Slot<'a>,
    },
    /// Reads, in their order.
    Reads {
        reads: VecDeque<Read<'a>>,
        _slot: Slot<'a>,
    },
    /// Something built in.
    Other {
        answer: Later<'a, Value>,
        _slot: Slot<'a>,
    },
}

/// One read, or a command of which it is not known what it is.
pub(crate) struct Read<'a> {
    pub(crate) command: String,
    /// `None`: unknown.
    pub(crate) access: Option<Access>,
    pub(crate) answer: Answer<'a>,
}

pub(crate) enum Answer<'a> {
    Awaited(Later<'a, Result<Reply, CallError>>),
    Come(Result<Reply, CallError>),
}

impl Run<'_> {
    pub(crate) fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    /// Has every read ask what it must wait for, so that they wait together. One that is answered at
    /// once waits for nothing, and neither would the others.
    pub(crate) fn prime(&mut self, context: &mut Context<'_>) {
        let Self::Reads { reads, .. } = self else {
            return;
        };
        // The first one is polled for its answer anyway.
        for read in reads.iter_mut().skip(1) {
            let Answer::Awaited(answer) = &mut read.answer else {
                continue;
            };
            if let Poll::Ready(answer) = answer.as_mut().poll(context) {
                read.answer = Answer::Come(answer);
                return;
            }
        }
    }

    /// Adds the next answer to `output`, or the next ones that come together. When all are there, it is
    /// [`Run::Nothing`].
    pub(crate) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
        version: Version,
        output: &mut Vec<u8>,
    ) -> Poll<()> {
        match self {
            Self::Nothing => return Poll::Pending,
            Self::Writes { answers, .. } => {
                let Poll::Ready(answers) = answers.as_mut().poll(context) else {
                    return Poll::Pending;
                };
                let asked = Asked {
                    command: None,
                    writes: true,
                };
                for answer in &answers {
                    render(answer, asked, version, output);
                }
            }
            Self::Reads { reads, .. } => {
                let Some(read) = reads.front_mut() else {
                    *self = Self::Nothing;
                    return Poll::Ready(());
                };
                if let Answer::Awaited(answer) = &mut read.answer {
                    let Poll::Ready(answer) = answer.as_mut().poll(context) else {
                        return Poll::Pending;
                    };
                    read.answer = Answer::Come(answer);
                }
                if let Answer::Come(answer) = &read.answer {
                    let asked = Asked {
                        command: Some(&read.command),
                        writes: read.access != Some(Access::Read),
                    };
                    render(answer, asked, version, output);
                }
                reads.pop_front();
                if !reads.is_empty() {
                    return Poll::Ready(());
                }
            }
            Self::Other { answer, .. } => {
                let Poll::Ready(answer) = answer.as_mut().poll(context) else {
                    return Poll::Pending;
                };
                encode(&answer, version, output);
            }
        }
        *self = Self::Nothing;
        Poll::Ready(())
    }
}

fn render(
    answer: &Result<Reply, CallError>,
    asked: Asked<'_>,
    version: Version,
    output: &mut Vec<u8>,
) {
    match answer {
        Ok(reply) => encode_reply(reply, version, output),
        Err(error) => encode(&Value::Error(line(error, asked)), version, output),
    }
}
