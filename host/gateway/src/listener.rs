//! Accepts connections, finds out who they are, and sends them where they belong.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hostd_pki::{Credentials, Identity, PkiError};
use hostd_protocol::{ALPN_PEER, NodeId};
use hostd_quic::Close;
use quinn::crypto::rustls::HandshakeData;
use quinn::rustls::pki_types::CertificateDer;
use quinn::{Connection, Endpoint, Incoming};
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::client::serve_client;
use crate::{Limits, Load, PeerHandler, Service};

/// With so many handshakes under way, a stranger must prove its address before it gets one.
const HANDSHAKES_TRUSTED: usize = 64;

/// With so many handshakes under way, nobody gets one.
const HANDSHAKES_MAX: usize = 1_024;

/// Why a listener could not be opened.
#[derive(Debug, Error)]
pub enum BindError {
    /// The certificates cannot be used.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The address cannot be used.
    #[error("cannot listen on {address} (UDP): {source}; choose another with --listen")]
    Address {
        /// The address.
        address: SocketAddr,
        /// The operating system's reason.
        source: io::Error,
    },
}

/// Opens the node's UDP port. The endpoint also dials peers; connections that come in wait until
/// [`Gateway::serve`].
pub fn bind(address: SocketAddr, credentials: &Credentials) -> Result<Endpoint, BindError> {
    let config = hostd_quic::server_config(credentials.server_config()?);
    hostd_quic::bind(address, Some(config)).map_err(|source| BindError::Address { address, source })
}

/// A running gateway. Dropping it does not stop it: see [`shutdown`](Self::shutdown).
#[derive(Debug)]
pub struct Gateway {
    load: Arc<Load>,
    stop: watch::Sender<bool>,
    /// Yields `None` when the last task that holds its sender has ended.
    tasks: mpsc::Receiver<Infallible>,
}

/// What every connection's task needs.
pub(crate) struct Shared<S> {
    pub(crate) service: S,
    pub(crate) limits: Limits,
    pub(crate) load: Arc<Load>,
    /// Turns true once.
    pub(crate) stop: watch::Receiver<bool>,
    cluster: String,
    peers: PeerHandler,
    handshakes: AtomicUsize,
    alive: mpsc::Sender<Infallible>,
}

impl Gateway {
    /// Serves the connections that come in at `endpoint`, until it is closed. `cluster` is the
    /// name in the node's own certificate; nodes of another are turned away.
    pub fn serve<S: Service>(
        endpoint: Endpoint,
        cluster: String,
        limits: Limits,
        service: S,
        peers: PeerHandler,
    ) -> Self {
        let load = Arc::new(Load::default());
        let (stop, stopped) = watch::channel(false);
        let (alive, tasks) = mpsc::channel(1);
        let shared = Arc::new(Shared {
            service,
            limits,
            load: load.clone(),
            stop: stopped,
            cluster,
            peers,
            handshakes: AtomicUsize::new(0),
            alive,
        });
        tokio::spawn(accept(endpoint, shared));
        Self { load, stop, tasks }
    }

    /// What clients take at this moment.
    pub fn load(&self) -> &Load {
        &self.load
    }

    /// Accepts nothing more, answers the requests it has, and closes the clients' connections.
    /// Gives up after `grace`. Peers' connections are their handler's.
    pub async fn shutdown(mut self, grace: Duration) {
        self.stop.send_replace(true);
        if timeout(grace, self.tasks.recv()).await.is_err() {
            warn!(
                requests = self.load.requests(),
                "requests were still unanswered when the node stopped"
            );
        }
    }
}

async fn accept<S: Service>(endpoint: Endpoint, shared: Arc<Shared<S>>) {
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
            match shared.load.admit_connection(&shared.limits) {
                Some(_slot) => serve_client(&shared, &connection, Arc::from(name)).await,
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
