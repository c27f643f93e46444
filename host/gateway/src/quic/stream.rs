//! A client's stream, whose first frame tells what it is for: requests, or one watch.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hostd_protocol::codec::decode;
use hostd_protocol::{Request, Watch};
use hostd_quic::{Close, FrameChunks, NoFrame};
use quinn::{RecvStream, SendStream};
use tokio::time::timeout;

use super::exchange::{Exchange, Finished};
use super::watch::serve_watch;
use crate::gateway::Shared;
use crate::{Caller, Service};

/// Streams for requests that one connection may have.
const EXCHANGES_MAX: usize = 4;

/// A first frame up to this size may ask for a watch: a prefix is no longer than a key.
const WATCH_BYTES_MAX: usize = 72 << 10;

/// What the streams of one connection share.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    /// Unanswered requests.
    pub(crate) in_flight: Arc<AtomicUsize>,
    exchanges: AtomicUsize,
    pub(crate) watches: AtomicUsize,
}

/// Serves a stream until it ends.
pub(crate) async fn serve_stream<S: Service>(
    shared: Arc<Shared<S>>,
    caller: Arc<Caller>,
    streams: Arc<Streams>,
    send: SendStream,
    mut recv: RecvStream,
) -> Finished {
    let mut stop = shared.stop.clone();
    let opening = tokio::select! {
        opening = open(&mut recv, shared.limits.stall_timeout) => opening,
        _ = stop.wait_for(|stop| *stop) => return Finished::Gone,
    };
    match opening {
        Ok(Opening::Watch(id, watch)) => {
            drop(recv);
            let watches = &streams.watches;
            Box::pin(serve_watch(&shared, &caller, watches, send, (id, watch))).await
        }
        Ok(Opening::Requests(begun)) => {
            let counted = Counted::new(&streams.exchanges);
            if counted.before >= EXCHANGES_MAX {
                let reason = format!("a connection has {EXCHANGES_MAX} streams for requests");
                return Finished::Broken(Close::Overloaded, reason);
            }
            let exchange = Exchange {
                shared: shared.clone(),
                caller,
                in_flight: streams.in_flight.clone(),
            };
            Box::pin(exchange.run(send, recv, &begun)).await
        }
        Ok(Opening::Slow) => {
            let reason = "a first request did not come in full".to_owned();
            Finished::Broken(Close::Stalled, reason)
        }
        Err(NoFrame::Ended | NoFrame::Broken(_)) => Finished::Gone,
        Err(error) => Finished::Broken(Close::Malformed, error.to_string()),
    }
}

enum Opening {
    Watch(u64, Watch),
    /// With what has come so far.
    Requests(Vec<u8>),
    /// The first frame began, and did not come in full.
    Slow,
}

async fn open(recv: &mut RecvStream, stall: Duration) -> Result<Opening, NoFrame> {
    let mut frames = FrameChunks::new(WATCH_BYTES_MAX);
    // Nobody need say anything: whoever uses a stream opens all before it (RFC 9000, section 3).
    frames.begin(recv).await?;
    let Ok(frame) = timeout(stall, frames.next(recv)).await else {
        return Ok(Opening::Slow);
    };
    let frame = match frame {
        Ok(frame) => frame,
        Err(NoFrame::TooLarge(_)) => return Ok(Opening::Requests(frames.into_rest())),
        Err(error) => return Err(error),
    };
    if let Ok((id, Request::Watch(watch))) = decode::<(u64, Request)>(&frame) {
        return Ok(Opening::Watch(id, watch));
    }
    let length = u32::try_from(frame.len()).expect("it was found to be small");
    let mut begun = length.to_le_bytes().to_vec();
    begun.extend_from_slice(&frame);
    begun.extend_from_slice(&frames.into_rest());
    Ok(Opening::Requests(begun))
}

/// Counts as long as it lives.
pub(crate) struct Counted<'a> {
    counter: &'a AtomicUsize,
    /// How many there were before it.
    pub(crate) before: usize,
}

impl<'a> Counted<'a> {
    pub(crate) fn new(counter: &'a AtomicUsize) -> Self {
        let before = counter.fetch_add(1, Ordering::Relaxed);
        Self { counter, before }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.counter.fetch_sub(1, Ordering::Relaxed);
    }
}
