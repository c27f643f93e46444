//! A stream that carries one watch. Idle, it holds no buffer and no timer.

use std::pin::pin;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use hostd_protocol::codec::encode_frame;
use hostd_protocol::{CallError, Failure, FailureCode, Response, Watch, WatchItem};
use hostd_quic::Close;
use quinn::SendStream;
use tokio::time::timeout;
use tracing::debug;

use super::exchange::Finished;
use super::stream::Counted;
use crate::gateway::Shared;
use crate::{Caller, Service};

/// Items that are ready are written together up to this size.
const TOGETHER_BYTES: usize = 64 << 10;

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
            if write(&mut send, &buffer, limits.stall_timeout).await {
                finish(send).await;
            }
            return Finished::Answered;
        }
    };
    let mut stop = shared.stop.clone();
    // The client stops the stream, or is gone.
    let mut stopped = pin!(send.stopped());
    loop {
        let item = tokio::select! {
            item = watching.next() => item,
            _ = &mut stopped => return Finished::Answered,
            _ = stop.wait_for(|stop| *stop) => None,
        };
        let mut buffer = Vec::new();
        let mut next = item;
        let mut over = next.is_none();
        while let Some(item) = next.take() {
            over = item.is_err();
            push(&mut buffer, id, item);
            if !over && buffer.len() < TOGETHER_BYTES {
                next = watching.next().now_or_never().flatten();
            }
        }
        if !write(&mut send, &buffer, limits.stall_timeout).await {
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

/// Writes all of it, unless the client takes nothing for too long: then it is told so, and can go
/// on from what it has. Whether all was written.
async fn write(send: &mut SendStream, mut bytes: &[u8], stall: Duration) -> bool {
    while !bytes.is_empty() {
        match timeout(stall, send.write(bytes)).await {
            Ok(Ok(count)) => bytes = &bytes[count..],
            Ok(Err(_)) => return false,
            Err(_) => {
                // It may have been reset already.
                let _ = send.reset(Close::Stalled.code());
                return false;
            }
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
