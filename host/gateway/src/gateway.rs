//! Opens the node's port, and runs what serves it.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use hostd_pki::{Credentials, PkiError};
use quinn::Endpoint;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tracing::warn;

use crate::tcp::TcpDoor;
use crate::{Limits, Load, PeerHandler, Require, Service, quic, resp, tcp};

/// How often a free port is looked for that both UDP and TCP can have.
const PORT_TRIES: usize = 16;

/// Why a listener could not be opened.
#[derive(Debug, Error)]
pub enum BindError {
    /// The certificates cannot be used.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The address cannot be used.
    #[error("cannot listen on {address} ({protocol}): {source}; choose another with --listen")]
    Address {
        /// The address.
        address: SocketAddr,
        /// UDP or TCP.
        protocol: &'static str,
        /// The operating system's reason.
        source: io::Error,
    },
}

/// The node's port, open. What comes in waits until [`Gateway::serve`].
#[derive(Clone, Debug)]
pub struct Doors {
    /// QUIC. Peers are dialled from it too.
    pub quic: Endpoint,
    /// RESP and HTTP.
    pub tcp: Option<TcpDoor>,
}

impl Doors {
    /// Opens UDP and TCP at `address`; with port 0, at one that is free for both. What TCP asks of
    /// clients is `require`.
    pub async fn bind(
        address: SocketAddr,
        credentials: &Credentials,
        require: Require,
    ) -> Result<Self, BindError> {
        let failed = |protocol| {
            move |source| BindError::Address {
                address,
                protocol,
                source,
            }
        };
        let mut tries = if address.port() == 0 { PORT_TRIES } else { 1 };
        loop {
            tries -= 1;
            let config = hostd_quic::server_config(credentials.server_config()?);
            let quic = hostd_quic::bind(address, Some(config)).map_err(failed("UDP"))?;
            let chosen = quic.local_addr().map_err(failed("UDP"))?;
            match TcpListener::bind(chosen).await {
                Ok(listener) => {
                    let tcp = Some(TcpDoor::new(listener, credentials, require)?);
                    return Ok(Self { quic, tcp });
                }
                Err(_) if tries > 0 => {}
                Err(source) => return Err(failed("TCP")(source)),
            }
        }
    }

    /// Uses other credentials for the connections that come from now on, at all doors or, when they
    /// cannot be used, at none.
    pub fn replace_credentials(&self, credentials: &Credentials) -> Result<(), PkiError> {
        let quic = hostd_quic::server_config(credentials.server_config()?);
        if let Some(tcp) = &self.tcp {
            tcp.replace(credentials)?;
        }
        self.quic.set_server_config(Some(quic));
        Ok(())
    }

    /// As [`bind`](Self::bind), without TCP.
    pub fn bind_quic(address: SocketAddr, credentials: &Credentials) -> Result<Self, BindError> {
        let config = hostd_quic::server_config(credentials.server_config()?);
        let quic =
            hostd_quic::bind(address, Some(config)).map_err(|source| BindError::Address {
                address,
                protocol: "UDP",
                source,
            })?;
        Ok(Self { quic, tcp: None })
    }
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
    pub(crate) cluster: String,
    pub(crate) peers: PeerHandler,
    pub(crate) resp: resp::Door,
    /// QUIC handshakes that are under way.
    pub(crate) handshakes: AtomicUsize,
    /// Held by each task that [`Gateway::shutdown`] waits for.
    pub(crate) alive: mpsc::Sender<Infallible>,
}

impl Gateway {
    /// Serves the connections that come in at `doors`, until they are closed. `cluster` is the
    /// name in the node's own certificate; nodes of another are turned away.
    pub fn serve<S: Service>(
        doors: Doors,
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
            resp: resp::Door::default(),
            handshakes: AtomicUsize::new(0),
            alive,
        });
        tokio::spawn(quic::accept(doors.quic, shared.clone()));
        if let Some(door) = doors.tcp {
            tokio::spawn(tcp::accept(door, shared));
        }
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
