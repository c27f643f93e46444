//! Questions on one stream, answered in any order.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use hostd_protocol::codec;
use hostd_quic::{FrameReader, FrameWriter, Next};
use quinn::{RecvStream, SendStream};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::oneshot;

use super::Lost;
use crate::{
    network::{Answer, Question},
    types::GROUP,
};

/// Bytes that may wait for a peer that does not take them.
const OUTBOX_BYTES_MAX: usize = 64 << 20;

/// The asking side of a stream.
#[derive(Clone)]
pub(super) struct Mux(Arc<Shared>);

struct Shared {
    outbox: Outbox,
    next: AtomicU64,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// By number of the question.
    answers: HashMap<u64, oneshot::Sender<Vec<u8>>>,
    /// Why there will be no more answers.
    ended: Option<String>,
}

impl Mux {
    /// Takes over a stream whose opening was sent. `reader` may hold what has come already.
    pub(super) fn new(send: SendStream, recv: RecvStream, reader: FrameReader) -> Self {
        let shared = Arc::new(Shared {
            outbox: Outbox::new(send),
            next: AtomicU64::new(0),
            waiting: Mutex::default(),
        });
        tokio::spawn(read_answers(Arc::clone(&shared), recv, reader));
        Self(shared)
    }

    /// Whether the stream can still carry questions.
    pub(super) fn is_open(&self) -> bool {
        self.0.lock().ended.is_none()
    }

    /// Asks, and waits for the answer.
    pub(super) async fn call<Q: Serialize, A: DeserializeOwned>(
        &self,
        body: Q,
        within: Duration,
    ) -> Result<A, Lost> {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        {
            let mut waiting = self.0.lock();
            if let Some(reason) = &waiting.ended {
                return Err(Lost::Unreachable(reason.clone()));
            }
            waiting.answers.insert(id, sender);
        }
        // Forgets the question also when this future is dropped.
        let _forget = Forget {
            shared: &self.0,
            id,
        };
        self.0.outbox.send(&Question {
            group: GROUP,
            id,
            body,
        })?;
        let bytes = match tokio::time::timeout(within, receiver).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(_)) => return Err(Lost::Broken("the connection was lost".into())),
            Err(_) => return Err(Lost::Broken(format!("no answer within {within:?}"))),
        };
        let answer: Answer<A> = codec::decode(&bytes)
            .map_err(|error| Lost::Broken(format!("a malformed answer: {error}")))?;
        answer.body.map_err(Lost::Refused)
    }
}

struct Forget<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.shared.lock().answers.remove(&self.id);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read_answers(shared: Arc<Shared>, mut recv: RecvStream, mut reader: FrameReader) {
    let reason = loop {
        match reader.next() {
            Next::Frame(payload) => {
                // The number comes first; the rest is for whoever asked.
                let Ok((id, _)) = postcard::take_from_bytes::<u64>(payload) else {
                    break "a malformed answer".to_owned();
                };
                let sender = shared.lock().answers.remove(&id);
                if let Some(sender) = sender {
                    // Whoever asked may have given up in this moment.
                    drop(sender.send(payload.to_vec()));
                }
            }
            Next::Oversized { length, .. } => break format!("an answer of {length} bytes"),
            Next::Partial => {
                let filled =
                    std::future::poll_fn(|context| reader.poll_fill(context, &mut recv)).await;
                match filled {
                    Ok(0) => break "the other side has ended the stream".to_owned(),
                    Ok(_) => {}
                    Err(error) => break error.to_string(),
                }
            }
        }
    };
    let mut waiting = shared.lock();
    waiting.ended = Some(reason);
    waiting.answers.clear();
}

/// The sending half of a stream that several tasks write to. What can be sent is sent by the
/// task that has it; a task of its own takes over only when the peer is slow.
struct Outbox(Arc<Mutex<Sending>>);

struct Sending {
    stream: SendStream,
    writer: FrameWriter,
    /// A task sends what is left.
    draining: bool,
    failed: Option<String>,
}

impl Outbox {
    fn new(stream: SendStream) -> Self {
        Self(Arc::new(Mutex::new(Sending {
            stream,
            writer: FrameWriter::new(),
            draining: false,
            failed: None,
        })))
    }

    fn send<T: Serialize>(&self, value: &T) -> Result<(), Lost> {
        let mut sending = lock(&self.0);
        if let Some(reason) = &sending.failed {
            return Err(Lost::Unreachable(reason.clone()));
        }
        if sending.writer.pending_bytes() > OUTBOX_BYTES_MAX {
            return Err(Lost::Unreachable("it takes nothing more".into()));
        }
        sending.writer.push(value);
        if sending.draining {
            return Ok(());
        }
        match sending.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => result.map_err(Lost::Unreachable),
            Poll::Pending => {
                sending.draining = true;
                tokio::spawn(drain(Arc::clone(&self.0)));
                Ok(())
            }
        }
    }
}

impl Sending {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), String>> {
        match self.writer.poll_write(context, &mut self.stream) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(_)) => {
                self.draining = false;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => {
                self.draining = false;
                let reason = error.to_string();
                self.failed = Some(reason.clone());
                Poll::Ready(Err(reason))
            }
        }
    }
}

async fn drain(sending: Arc<Mutex<Sending>>) {
    // The reading side notices a lost connection; here it is only the end.
    drop(std::future::poll_fn(|context| lock(&sending).poll(context)).await);
}

fn lock(sending: &Mutex<Sending>) -> MutexGuard<'_, Sending> {
    sending.lock().unwrap_or_else(PoisonError::into_inner)
}
