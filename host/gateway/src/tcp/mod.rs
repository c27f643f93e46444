//! The TCP door: RESP and HTTP on one port, each with or without TLS, told apart by the first bytes.
//!
//! Every connection has a task of its own from the moment it is accepted, so one that is silent or
//! slow delays no other.

mod enroll;
mod prefixed;
mod sniff;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::BytesMut;
use hostd_pki::{Credentials, Identity, PkiError};
use hostd_protocol::enroll::ALPN_ENROLL;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::server::Acceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, warn};

use crate::gateway::Shared;
use crate::limits::Transport;
use crate::{Limits, Service, http, resp};
pub(crate) use prefixed::Prefixed;
use sniff::{Spoken, sniff};

/// After the operating system could not give a connection, for want of descriptors perhaps.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What RESP and HTTP ask of a client's connection, at the least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Require {
    /// Nothing.
    #[default]
    Nothing,
    /// TLS.
    Tls,
    /// TLS with a certificate of the cluster's authority.
    Certificate,
}

/// A TCP port, open.
#[derive(Clone)]
pub struct TcpDoor {
    listener: Arc<TcpListener>,
    /// What the next connections get; replaced when certificates are.
    tls: Arc<RwLock<Tls>>,
    require: Require,
}

impl TcpDoor {
    pub(crate) fn new(
        listener: TcpListener,
        credentials: &Credentials,
        require: Require,
    ) -> Result<Self, PkiError> {
        Ok(Self {
            listener: Arc::new(listener),
            tls: Arc::new(RwLock::new(Tls::new(credentials, require)?)),
            require,
        })
    }

    /// Uses other credentials for connections from now on.
    pub(crate) fn replace(&self, credentials: &Credentials) -> Result<(), PkiError> {
        let tls = Tls::new(credentials, self.require)?;
        *self.tls.write().unwrap_or_else(PoisonError::into_inner) = tls;
        Ok(())
    }
}

/// How TLS begins, depending on what the other side wants to speak in it.
#[derive(Clone)]
struct Tls {
    /// RESP and HTTP.
    clients: Arc<ServerConfig>,
    /// A new node, which has no certificate.
    newcomers: Arc<ServerConfig>,
}

impl Tls {
    fn new(credentials: &Credentials, require: Require) -> Result<Self, PkiError> {
        let clients = credentials.web_server_config(require == Require::Certificate)?;
        Ok(Self {
            clients: Arc::new(clients),
            newcomers: Arc::new(credentials.enroll_server_config()?),
        })
    }

    /// Shakes hands. Returns whether a new node is at the other end.
    async fn accept<T: Io>(&self, stream: T) -> io::Result<(TlsStream<T>, bool)> {
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let newcomer = start
            .client_hello()
            .alpn()
            .is_some_and(|mut spoken| spoken.any(|spoken| spoken == ALPN_ENROLL));
        let config = if newcomer {
            &self.newcomers
        } else {
            &self.clients
        };
        Ok((start.into_stream(Arc::clone(config)).await?, newcomer))
    }
}

impl std::fmt::Debug for TcpDoor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("TcpDoor")
            .field("listener", &self.listener)
            .field("require", &self.require)
            .finish_non_exhaustive()
    }
}

/// Who is at the other end, as far as the connection itself proves it.
#[derive(Clone, Debug)]
pub(crate) struct Guest {
    pub(crate) from: SocketAddr,
    /// The common name of its certificate.
    pub(crate) certificate: Option<Arc<str>>,
}

/// What a connection can be read from and written to.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// After two minutes of silence the other end is asked whether it is there.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_mins(2))
    .with_interval(Duration::from_secs(15));

/// Accepts connections until the node stops.
pub(crate) async fn accept<S: Service>(door: TcpDoor, shared: Arc<Shared<S>>) {
    let TcpDoor {
        listener,
        tls,
        require,
    } = door;
    let mut stop = shared.stop.clone();
    let web = http::Door::new(&shared);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        match accepted {
            Ok((stream, from)) => {
                // Answers are written whole; waiting for more to send helps nobody.
                let _ = stream.set_nodelay(true);
                // Who is gone without a word is found out, however quiet what it asked for is.
                let _ = SockRef::from(&stream).set_tcp_keepalive(&KEEPALIVE);
                let tls = tls.read().unwrap_or_else(PoisonError::into_inner).clone();
                let (shared, web) = (shared.clone(), web.clone());
                tokio::spawn(async move { serve(stream, from, tls, require, &shared, web).await });
            }
            Err(error) => {
                warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve<S: Service>(
    mut stream: TcpStream,
    from: SocketAddr,
    tls: Tls,
    require: Require,
    shared: &Arc<Shared<S>>,
    web: http::Door,
) {
    let slot = shared.load.admit_connection(&shared.limits, Transport::Tcp);
    let Some(_slot) = slot else {
        debug!(%from, "connection refused: there are as many as may be");
        // Which protocol it speaks is not known yet, and finding out would keep it.
        let _ = stream.try_write(b"-ERR max number of clients reached\r\n");
        return;
    };
    let _alive = shared.alive.clone();
    let mut stop = shared.stop.clone();
    let patience = if shared.load.is_crowded(&shared.limits) {
        shared.limits.handshake_timeout
    } else {
        shared.limits.idle_timeout
    };
    let greeted = tokio::select! {
        greeted = timeout(patience, greet(&mut stream, &shared.limits)) => greeted,
        _ = stop.wait_for(|stop| *stop) => return,
    };
    let (spoken, begun) = match greeted {
        Ok(Ok(greeted)) => greeted,
        Ok(Err(error)) => return debug!(%from, %error, "connection ended before it said anything"),
        Err(_) => return debug!(%from, "connection closed: it said nothing"),
    };
    let guest = Guest {
        from,
        certificate: None,
    };
    match spoken {
        Spoken::Tls => {
            let stream = Prefixed::new(begun, stream);
            let handshake = timeout(shared.limits.handshake_timeout, tls.accept(stream));
            let (mut stream, newcomer) = match handshake.await {
                Ok(Ok(accepted)) => accepted,
                Ok(Err(error)) => return debug!(%from, %error, "TLS handshake failed"),
                Err(_) => return debug!(%from, "TLS handshake took too long"),
            };
            if newcomer {
                return enroll::serve(stream, from, shared).await;
            }
            let certificate = stream
                .get_ref()
                .1
                .peer_certificates()
                .and_then(|chain| chain.first());
            let certificate = match certificate.map(|leaf| Identity::from_certificate(leaf)) {
                None => None,
                Some(Ok(Identity::Client { name })) => Some(Arc::from(name)),
                Some(Ok(node @ Identity::Node { .. })) => {
                    return warn!(%from, %node, "connection refused: a node's certificate is no client's");
                }
                Some(Err(error)) => return warn!(%from, %error, "connection refused"),
            };
            let greeted = tokio::select! {
                greeted = timeout(shared.limits.idle_timeout, greet(&mut stream, &shared.limits)) => greeted,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            let Ok(Ok((spoken, begun))) = greeted else {
                return debug!(%from, "connection closed: it said nothing");
            };
            converse(
                spoken,
                begun,
                stream,
                Guest { from, certificate },
                shared,
                web,
            )
            .await;
        }
        _ if require > Require::Nothing => {
            debug!(%from, "connection refused: it does not speak TLS");
            let reason =
                "this port wants TLS; with redis-cli: --tls --cacert ca.pem, with curl: https";
            refuse(spoken, &mut stream, reason).await;
        }
        spoken => converse(spoken, begun, stream, guest, shared, web).await,
    }
}

async fn converse<S: Service>(
    spoken: Spoken,
    begun: BytesMut,
    mut stream: impl Io,
    guest: Guest,
    shared: &Arc<Shared<S>>,
    web: http::Door,
) {
    let closed = guest
        .certificate
        .is_none()
        .then(|| shared.service.closed())
        .flatten();
    if let Some(reason) = closed {
        debug!(from = %guest.from, reason, "connection refused");
        return refuse(spoken, &mut stream, &reason).await;
    }
    match spoken {
        Spoken::Resp => resp::serve(begun, stream, guest, shared).await,
        Spoken::Http => web.serve(Prefixed::new(begun, stream), guest, shared).await,
        Spoken::Tls => debug!(from = %guest.from, "connection closed: TLS within TLS"),
    }
}

/// Finds out what a connection speaks, and what of it has been read meanwhile.
async fn greet(stream: &mut impl Io, limits: &Limits) -> io::Result<(Spoken, BytesMut)> {
    use tokio::io::AsyncReadExt;

    let mut begun = BytesMut::new();
    loop {
        if stream.read_buf(&mut begun).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(spoken) = sniff(&begun, limits.line_bytes_max) {
            return Ok((spoken, begun));
        }
    }
}

/// Says why nothing is served, in the client's own words, and hangs up.
async fn refuse(spoken: Spoken, stream: &mut impl Io, reason: &str) {
    let answer = match spoken {
        Spoken::Http => format!(
            "HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Type: text/plain\r\n\
             Content-Length: {}\r\n\r\n{reason}\n",
            reason.len() + 1
        ),
        _ => format!("-ERR {reason}\r\n"),
    };
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}
