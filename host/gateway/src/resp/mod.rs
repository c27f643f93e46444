//! The Redis protocol: RESP2, RESP3 after HELLO 3, and commands as one types them.
//!
//! A connection is one task (`exchange`). `pipe` moves its bytes, `decode` finds the commands in them,
//! `run` has commands of plugins answered that can be under way together, `builtin` answers what is
//! Redis's or the node's own, `failure` and `encode` say the answers in Redis's words.
//!
//! A connection is sent two things unasked. What others do, to monitors: `monitor` and `mailbox`. What it has
//! subscribed to: `channel` says what that is, `merge` puts several watches in one order, `subscriptions`
//! has those of a connection and of the node.
//!
//! It must not know what a plugin's command does, or who leads but from what the [`Service`] says.

mod builtin;
mod channel;
mod decode;
mod encode;
mod exchange;
mod failure;
mod glob;
mod mailbox;
mod merge;
mod monitor;
mod pipe;
mod run;
mod session;
mod subscriptions;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::BytesMut;
use tracing::{debug, info};

use self::exchange::{Ended, Exchange};
use self::monitor::Monitors;
use self::session::Session;
use self::subscriptions::Subscribers;
use crate::Service;
use crate::gateway::Shared;
use crate::tcp::{Guest, Io};

/// What all RESP connections of a node share.
#[derive(Debug, Default)]
pub(crate) struct Door {
    connections: AtomicU64,
    monitors: Monitors,
    subscribers: Subscribers,
}

/// Serves a connection of which `begun` has been read already, until it ends.
pub(crate) async fn serve<S: Service>(
    begun: BytesMut,
    stream: impl Io,
    guest: Guest,
    shared: &Arc<Shared<S>>,
) {
    let id = shared.resp.connections.fetch_add(1, Ordering::Relaxed) + 1;
    let from = guest.from;
    debug!(%from, id, "RESP client connected");
    let session = Session::new(id, guest, shared.service.unproved());
    let in_flight = AtomicUsize::new(0);
    let exchange = Exchange::new(shared, &in_flight, session, stream, &begun);
    match exchange.run().await {
        Ended::Answered | Ended::Gone => debug!(%from, id, "RESP client disconnected"),
        Ended::Cut(reason) => info!(%from, id, reason, "RESP client cut off"),
    }
}
