//! What a connection is sent unasked, such as a monitor's lines: from whoever has it to the
//! connection's own task, bounded, and without anybody waiting for a slow reader.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

/// Bytes that may wait in one mailbox. More means that its reader does not keep up.
pub(crate) const WAITING_BYTES_MAX: usize = 1 << 20;

/// What one message takes by itself.
const MESSAGE_BYTES: usize = 64;

/// The reading end. When it is dropped, its senders notice.
#[derive(Debug, Default)]
pub(crate) struct Mailbox(Arc<Mutex<Waiting>>);

/// The sending end.
#[derive(Clone, Debug)]
pub(crate) struct Sender(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    messages: VecDeque<Bytes>,
    bytes: usize,
    waker: Option<Waker>,
    /// The reader has room for a message: it is woken by one, else only when too many wait.
    has_room: bool,
    /// More came than may wait, and nothing more will.
    overflowed: bool,
    closed: bool,
}

/// Why there will be no more messages: too many waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overflowed;

impl Mailbox {
    pub(crate) fn sender(&self) -> Sender {
        Sender(Arc::clone(&self.0))
    }

    /// The next message.
    pub(crate) fn poll_next(&self, context: &mut Context<'_>) -> Poll<Result<Bytes, Overflowed>> {
        let mut waiting = lock(&self.0);
        if waiting.overflowed {
            return Poll::Ready(Err(Overflowed));
        }
        if let Some(message) = waiting.messages.pop_front() {
            waiting.bytes -= message.len() + MESSAGE_BYTES;
            return Poll::Ready(Ok(message));
        }
        waiting.waker = Some(context.waker().clone());
        waiting.has_room = true;
        Poll::Pending
    }

    /// Waits until too many wait, for a reader that has no room for one.
    pub(crate) fn poll_overflowed(&self, context: &mut Context<'_>) -> Poll<Overflowed> {
        let mut waiting = lock(&self.0);
        if waiting.overflowed {
            return Poll::Ready(Overflowed);
        }
        waiting.waker = Some(context.waker().clone());
        waiting.has_room = false;
        Poll::Pending
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        let mut waiting = lock(&self.0);
        waiting.closed = true;
        waiting.messages = VecDeque::new();
    }
}

impl Sender {
    /// Puts a message in, already encoded for its reader. Returns whether it makes sense to send more.
    pub(crate) fn send(&self, message: Bytes) -> bool {
        let mut waiting = lock(&self.0);
        if waiting.closed || waiting.overflowed {
            return false;
        }
        waiting.bytes += message.len() + MESSAGE_BYTES;
        waiting.overflowed = waiting.bytes > WAITING_BYTES_MAX;
        if waiting.overflowed {
            waiting.messages = VecDeque::new();
        } else {
            waiting.messages.push_back(message);
        }
        let wakes = waiting.has_room || waiting.overflowed;
        let waker = waiting.waker.take_if(|_| wakes);
        let goes_on = !waiting.overflowed;
        drop(waiting);
        if let Some(waker) = waker {
            waker.wake();
        }
        goes_on
    }
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(mailbox: &Mailbox) -> Poll<Result<Bytes, Overflowed>> {
        mailbox.poll_next(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn messages_come_in_order_until_too_many_wait() {
        let mailbox = Mailbox::default();
        let sender = mailbox.sender();
        assert!(sender.send("a".into()) && sender.send("b".into()));
        assert_eq!(next(&mailbox), Poll::Ready(Ok("a".into())));
        assert_eq!(next(&mailbox), Poll::Ready(Ok("b".into())));
        assert_eq!(next(&mailbox), Poll::Pending);
        let large = Bytes::from(vec![0; WAITING_BYTES_MAX / 2]);
        assert!(sender.send(large.clone()));
        assert!(!sender.send(large));
        assert_eq!(next(&mailbox), Poll::Ready(Err(Overflowed)));
        assert!(lock(&mailbox.0).messages.is_empty(), "memory is given back");
    }

    #[test]
    fn a_reader_without_room_notices_that_too_many_wait() {
        let mailbox = Mailbox::default();
        let sender = mailbox.sender();
        let mut context = Context::from_waker(Waker::noop());
        assert!(mailbox.poll_overflowed(&mut context).is_pending());
        assert!(!sender.send(Bytes::from(vec![0; WAITING_BYTES_MAX])));
        assert!(lock(&mailbox.0).waker.is_none(), "it was woken");
        assert!(mailbox.poll_overflowed(&mut context).is_ready());
    }

    #[test]
    fn nothing_is_sent_to_nobody() {
        let mailbox = Mailbox::default();
        let sender = mailbox.sender();
        drop(mailbox);
        assert!(!sender.send("a".into()));
    }
}
