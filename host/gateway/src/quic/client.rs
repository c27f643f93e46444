//! One client's connection: its streams, from the first request to the last answer.

use std::sync::Arc;

use hostd_quic::Close;
use quinn::Connection;
use tokio::task::JoinSet;
use tracing::debug;

use super::exchange::Finished;
use super::stream::{Streams, serve_stream};
use crate::gateway::Shared;
use crate::{Caller, Service};

/// Serves a client until its connection ends, or the node stops and all is answered.
pub(crate) async fn serve_client<S: Service>(
    shared: &Arc<Shared<S>>,
    connection: &Connection,
    caller: Arc<Caller>,
) {
    let principal = &caller.identity;
    debug!(from = %caller.from, %principal, "client connected");
    let counts = Arc::<Streams>::default();
    let mut streams = JoinSet::new();
    let mut stop = shared.stop.clone();
    let mut stopping = false;
    loop {
        tokio::select! {
            stream = connection.accept_bi(), if !stopping => match stream {
                Ok((send, recv)) => {
                    let (shared, caller) = (shared.clone(), caller.clone());
                    streams.spawn(serve_stream(shared, caller, counts.clone(), send, recv));
                }
                Err(error) => {
                    debug!(%principal, %error, "client disconnected");
                    // Nobody waits for the answers that are still being made: they go with
                    // their streams.
                    return;
                }
            },
            Some(finished) = streams.join_next() => match finished {
                Ok(Finished::Answered) => {}
                Ok(Finished::Gone) => debug!(%principal, "stream abandoned"),
                Ok(Finished::Broken(close, reason)) => {
                    debug!(%principal, reason, "connection closed");
                    close.close(connection, &reason);
                    return;
                }
                // A panic of the service; the default hook has told about it.
                Err(_) => {
                    Close::Done.close(connection, "the node met a fault; see its log");
                    return;
                }
            },
            _ = stop.wait_for(|stop| *stop), if !stopping => stopping = true,
        }
        if stopping && streams.is_empty() {
            Close::ShuttingDown.close(connection, "the node is shutting down");
            return;
        }
    }
}
