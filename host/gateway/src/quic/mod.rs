//! The QUIC door: accepts connections, finds out who they are, and sends them where they belong.

mod client;
mod exchange;
mod stream;
mod watch;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hostd_pki::Identity;
use hostd_protocol::{ALPN_PEER, NodeId};
use hostd_quic::Close;
use quinn::crypto::rustls::HandshakeData;
use quinn::rustls::pki_types::CertificateDer;
use quinn::{Connection, Endpoint, Incoming};
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::gateway::Shared;
use crate::limits::Transport;
use crate::{Caller, Service};
use client::serve_client;

/// With so many handshakes under way, a stranger must prove its address before it gets one.
const HANDSHAKES_TRUSTED: usize = 64;

/// With so many handshakes under way, nobody gets one.
const HANDSHAKES_MAX: usize = 1_024;

/// Accepts connections until the endpoint is closed, or the node stops.
pub(crate) async fn accept<S: Service>(endpoint: Endpoint, shared: Arc<Shared<S>>) {
    let mut stop = shared.stop.clone();
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            _ = stop.wait_for(|stop| *stop) => None,
        };
        let Some(incoming) = incoming else { return };
        let handshakes = shared.handshakes.load(Ordering::Relaxed);
        if handshakes >= HANDSHAKES_MAX {
            incoming.refuse();
        } else if handshakes >= HANDSHAKES_TRUSTED && !incoming.remote_address_validated() {
            // An address that is not validated may be retried, so this cannot fail.
            let _ = incoming.retry();
        } else {
            shared.handshakes.fetch_add(1, Ordering::Relaxed);
            let shared = shared.clone();
            tokio::spawn(async move {
                let connection = greet(incoming, shared.limits.handshake_timeout).await;
                shared.handshakes.fetch_sub(1, Ordering::Relaxed);
                if let Some((connection, greeting)) = connection {
                    dispatch(shared, connection, greeting).await;
                }
            });
        }
    }
}

/// What a handshake says about the other side.
struct Greeting {
    is_peer: bool,
    identity: Identity,
}

async fn greet(incoming: Incoming, within: Duration) -> Option<(Connection, Greeting)> {
    let from = incoming.remote_address();
    let connection = match timeout(within, incoming.into_future()).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            debug!(%from, %error, "handshake failed");
            return None;
        }
        Err(_) => {
            debug!(%from, "handshake took too long");
            return None;
        }
    };
    match greeting(&connection) {
        Ok(greeting) => Some((connection, greeting)),
        Err(reason) => {
            warn!(%from, reason, "connection refused");
            Close::Refused.close(&connection, &reason);
            None
        }
    }
}

fn greeting(connection: &Connection) -> Result<Greeting, String> {
    let handshake = connection
        .handshake_data()
        .and_then(|data| data.downcast::<HandshakeData>().ok())
        .ok_or("no handshake data")?;
    let certificates = connection
        .peer_identity()
        .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
        .ok_or("no certificate")?;
    let leaf = certificates.first().ok_or("no certificate")?;
    Ok(Greeting {
        is_peer: handshake.protocol.as_deref() == Some(ALPN_PEER),
        identity: Identity::from_certificate(leaf).map_err(|error| error.to_string())?,
    })
}

async fn dispatch<S: Service>(
    shared: Arc<Shared<S>>,
    connection: Connection,
    Greeting { is_peer, identity }: Greeting,
) {
    let from = connection.remote_address();
    let refused = match (is_peer, identity) {
        (true, Identity::Node { cluster, id }) => match peer(&shared.cluster, &cluster, id) {
            Ok(id) => {
                hostd_quic::credit_peer(&connection);
                (shared.peers)(id, connection);
                return;
            }
            Err(reason) => reason,
        },
        (true, client @ Identity::Client { .. }) => {
            format!("{client} cannot connect as a node: its certificate has no hostd:// URI")
        }
        (false, Identity::Client { name }) => {
            // Held by this task until the connection has ended.
            let _alive = shared.alive.clone();
            let slot = shared
                .load
                .admit_connection(&shared.limits, Transport::Quic);
            match slot {
                Some(_slot) => {
                    let caller = Arc::new(Caller {
                        identity: Arc::from(name),
                        from,
                    });
                    serve_client(&shared, &connection, caller).await;
                }
                None => Close::Overloaded.close(
                    &connection,
                    "the node has as many connections as it may; try another",
                ),
            }
            return;
        }
        (false, node @ Identity::Node { .. }) => format!(
            "{node} is a node's certificate; clients need one of their own, from `hostctl pki issue NAME`"
        ),
    };
    warn!(%from, reason = refused, "connection refused");
    Close::Refused.close(&connection, &refused);
}

fn peer(own: &str, cluster: &str, id: NodeId) -> Result<NodeId, String> {
    if own == cluster {
        Ok(id)
    } else {
        Err(format!(
            "node {id} is of cluster {cluster}, this one is of {own}"
        ))
    }
}
