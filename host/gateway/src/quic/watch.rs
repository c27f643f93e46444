//! A stream that carries one watch. Idle, it holds no buffer and no timer.

use std::pin::pin;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use hostd_protocol::codec::encode_frame;
use hostd_protocol::{CallError, Failure, FailureCode, Response, Watch, WatchItem};
use hostd_quic::Close;
use quinn::SendStream;
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::exchange::Finished;
use super::stream::Counted;
use crate::gateway::Shared;
use crate::room::size_bytes;
use crate::{Caller, Service};

/// Items that are ready are written together up to this size.
const TOGETHER_BYTES: usize = 64 << 10;

/// How often a watcher that takes nothing is looked at.
const STALL_LOOK: Duration = Duration::from_secs(1);

/// Who takes what it is told more slowly than this is cut, in the end.
const RATE_MIN_BYTES_PER_S: u64 = 16 << 10;

/// How long a finished stream's last bytes may take to be acknowledged.
const LINGER: Duration = Duration::from_secs(1);

/// Serves a watch until it ends, the client ends its stream, or the node stops.
pub(crate) async fn serve_watch<S: Service>(
    shared: &Shared<S>,
    caller: &Caller,
    of_connection: &AtomicUsize,
    mut send: SendStream,
    (id, watch): (u64, Watch),
) -> Finished {
    let counted = Counted::new(of_connection);
    let all = Counted::new(shared.load.watches_counter());
    let limits = &shared.limits;
    let begun = if counted.before >= limits.watches_per_connection_max
        || all.before >= limits.watches_max
    {
        Err(overloaded())
    } else {
        shared.service.watch(caller, watch).await
    };
    let mut watching = match begun {
        Ok(watching) => watching,
        Err(error) => {
            let mut buffer = Vec::new();
            push(&mut buffer, id, Err(error));
            if write(&mut send, &buffer, shared).await {
                finish(send).await;
            }
            return Finished::Answered;
        }
    };
    let mut stop = shared.stop.clone();
    // The client stops the stream, or is gone.
    let mut stopped = pin!(send.stopped());
    // It was taken out, and is too large to go with what came before it.
    let mut ahead = None;
    loop {
        let next = async {
            let item = match ahead.take() {
                Some(item) => Some(item),
                None => watching.next().await,
            };
            // Before it is encoded: what thousands are told at once would otherwise take all memory.
            let bytes = item.as_ref().map_or(0, bytes_of);
            (item, shared.load.room.take(bytes).await)
        };
        let (item, _part) = tokio::select! {
            next = next => next,
            _ = &mut stopped => return Finished::Answered,
            _ = stop.wait_for(|stop| *stop) => (None, None),
        };
        let mut over = item.as_ref().is_none_or(Result::is_err);
        let mut buffer = Vec::new();
        if let Some(item) = item {
            push(&mut buffer, id, item);
        }
        let more = shared.load.room.try_take(2 * TOGETHER_BYTES);
        while more.is_some() && !over && buffer.len() < TOGETHER_BYTES {
            let Some(item) = watching.next().now_or_never().flatten() else {
                break;
            };
            if bytes_of(&item) > TOGETHER_BYTES {
                ahead = Some(item);
                break;
            }
            over = item.is_err();
            push(&mut buffer, id, item);
        }
        if !write(&mut send, &buffer, shared).await {
            debug!(from = %caller.from, "a watcher that takes nothing was cut");
            return Finished::Gone;
        }
        if over {
            finish(send).await;
            return Finished::Answered;
        }
    }
}

fn push(buffer: &mut Vec<u8>, id: u64, item: Result<WatchItem, CallError>) {
    encode_frame(&(id, item.map(Response::Watched)), buffer);
}

fn bytes_of(item: &Result<WatchItem, CallError>) -> usize {
    item.as_ref().map_or(0, size_bytes)
}

/// Writes all of it, unless the client takes nothing for too long, or hardly anything, or nothing for a
/// moment while others wait for room: then it is told so, and can go on from what it has. Whether
/// all was written.
async fn write<S>(send: &mut SendStream, mut bytes: &[u8], shared: &Shared<S>) -> bool {
    let stall = shared.limits.stall_timeout;
    let patience = stall + Duration::from_secs(bytes.len() as u64 / RATE_MIN_BYTES_PER_S);
    let last = Instant::now() + patience;
    let mut taken = Instant::now();
    while !bytes.is_empty() {
        match timeout(STALL_LOOK, send.write(bytes)).await {
            Ok(Ok(count)) => {
                bytes = &bytes[count..];
                taken = Instant::now();
            }
            Ok(Err(_)) => return false,
            Err(_) if taken.elapsed() < stall && !shared.load.room.is_wanted() => {}
            Err(_) => {
                // It may have been reset already.
                let _ = send.reset(Close::Stalled.code());
                return false;
            }
        }
        if Instant::now() >= last {
            let _ = send.reset(Close::Stalled.code());
            return false;
        }
    }
    true
}

async fn finish(mut send: SendStream) {
    if send.finish().is_ok() {
        // Whether or not it came through, there is nothing more to do.
        let _ = timeout(LINGER, send.stopped()).await;
    }
}

fn overloaded() -> CallError {
    Failure::new(
        FailureCode::Overloaded,
        "the node has as many watches as it may; watch another",
    )
    .into()
}
