//! The connection to a peer: dialled when it is needed, by one task for all who need it, and
//! given up as soon as the peer is seen to be gone.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hostd_protocol::{NodeId, codec, codec::FRAME_BYTES_MAX};
use hostd_quic::{Close, Ended, FrameReader, FrameWriter, Next, SERVER_NAME};
use quinn::{Connection, RecvStream, SendStream};
use serde::Serialize;
use tokio::{
    sync::{OnceCell, watch},
    time::Instant,
};

use super::{Lost, QuicTransport, mux::Mux, priority};
use crate::{
    network::{Hello, Opening, Rebuff},
    types::Node,
};

/// How long a handshake and the exchange of hellos may take.
const DIAL_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two attempts to reach a peer: at first, and at most.
const PAUSE_MIN: Duration = Duration::from_millis(30);
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// A peer that is asked and of which nothing at all arrives for so long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(1);

/// Whom a connection is to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Target {
    /// A member, wherever it listens.
    Member(NodeId),
    /// Whoever listens there.
    Address(String),
}

/// A node that this one talks to.
pub(crate) struct Peer {
    target: Target,
    state: Mutex<State>,
}

struct State {
    /// What the membership says; `None` for a bare address.
    expected: Option<Node>,
    connection: Progress,
    /// Attempts that failed since the last success.
    failures: u32,
}

enum Progress {
    /// Not before this moment, because of this.
    Down(Instant, Lost),
    Dialling(watch::Receiver<Option<Dialled>>),
    Up(Arc<Link>),
}

type Dialled = Result<Arc<Link>, Lost>;

enum Connected {
    Up(Arc<Link>),
    Dialling(watch::Receiver<Option<Dialled>>),
}

fn unreachable(reason: &str) -> Lost {
    Lost::Unreachable(reason.into())
}

fn lost(prefix: &str, rebuff: Rebuff) -> Lost {
    let reason = format!("{prefix}{}", rebuff.reason);
    if rebuff.final_word {
        Lost::Unwelcome(reason)
    } else {
        Lost::Unreachable(reason)
    }
}

/// Why a handshake failed.
fn ended(error: &quinn::ConnectionError) -> Lost {
    match Ended::new(error) {
        Ended::Credentials(reason) => Lost::Unwelcome(reason),
        Ended::Closed(_, reason) | Ended::Lost(reason) => Lost::Unreachable(reason),
    }
}

impl Peer {
    pub(super) fn new(target: Target) -> Self {
        Self {
            target,
            state: Mutex::new(State {
                expected: None,
                connection: Progress::Down(Instant::now(), unreachable("not tried yet")),
                failures: 0,
            }),
        }
    }

    /// What the membership says of this node now. A connection to something else ends.
    pub(super) fn expect(&self, node: &Node) {
        let mut state = self.lock();
        let changed = state.expected.as_ref().is_none_or(|known| {
            known.address != node.address || known.incarnation != node.incarnation
        });
        if changed {
            state.expected = Some(node.clone());
            state.reset("its address has changed");
        }
    }

    /// The node was heard of, as a process with this boot number.
    pub(super) fn heard_of(&self, boot: u64) {
        let mut state = self.lock();
        match &state.connection {
            Progress::Up(link) if link.hello.boot == boot => {}
            Progress::Dialling(_) => {}
            Progress::Up(_) | Progress::Down(..) => state.reset("it has been restarted"),
        }
    }

    /// The member's number, and how long a round trip takes by the estimate that the connection keeps
    /// (RFC 9002, section 5); `None` without a connection.
    pub(super) fn round_trip(&self) -> Option<(NodeId, Duration)> {
        let Target::Member(id) = &self.target else {
            return None;
        };
        match &self.lock().connection {
            Progress::Up(link) => Some((*id, link.connection.rtt())),
            Progress::Down(..) | Progress::Dialling(_) => None,
        }
    }

    pub(super) fn close(&self, reason: &str) {
        self.lock().reset(reason);
    }

    /// The connection, made now if there is none.
    pub(super) async fn link(
        peer: &Arc<Self>,
        transport: &QuicTransport,
    ) -> Result<Arc<Link>, Lost> {
        let mut dialling = match peer.connected_or_dialling(transport)? {
            Connected::Up(link) => return Ok(link),
            Connected::Dialling(dialling) => dialling,
        };
        let result = dialling.wait_for(Option::is_some).await;
        match result.ok().and_then(|result| result.clone()) {
            Some(dialled) => dialled,
            None => Err(unreachable("dialling was given up")),
        }
    }

    fn connected_or_dialling(
        self: &Arc<Self>,
        transport: &QuicTransport,
    ) -> Result<Connected, Lost> {
        let mut state = self.lock();
        match &state.connection {
            Progress::Up(link) if link.is_alive() => return Ok(Connected::Up(Arc::clone(link))),
            Progress::Dialling(dialling) => return Ok(Connected::Dialling(dialling.clone())),
            Progress::Down(until, lost) if Instant::now() < *until => return Err(lost.clone()),
            // One stream of it has ended; the others go with it.
            Progress::Up(link) => link.close("a stream was lost"),
            Progress::Down(..) => {}
        }
        let (sender, dialling) = watch::channel(None);
        state.connection = Progress::Dialling(dialling.clone());
        let expected = state.expected.clone();
        drop(state);
        let (peer, transport) = (Arc::clone(self), transport.clone());
        // A task, so that the attempt does not end with the patience of whoever needed it first.
        tokio::spawn(async move {
            let result = peer.dial(&transport, expected).await;
            peer.dialled(&result);
            sender.send_replace(Some(result));
        });
        Ok(Connected::Dialling(dialling))
    }

    fn dialled(&self, result: &Dialled) {
        let mut state = self.lock();
        match result {
            Ok(link) => {
                state.failures = 0;
                state.connection = Progress::Up(Arc::clone(link));
            }
            Err(lost) => {
                let pause = PAUSE_MIN * 2u32.saturating_pow(state.failures.min(10));
                if state.failures == 0 {
                    tracing::info!(peer = ?self.target, reason = %lost, "cannot reach a peer");
                }
                state.failures += 1;
                state.connection =
                    Progress::Down(Instant::now() + pause.min(PAUSE_MAX), lost.clone());
            }
        }
    }

    async fn dial(&self, transport: &QuicTransport, expected: Option<Node>) -> Dialled {
        let link = tokio::time::timeout(DIAL_TIMEOUT, self.dial_now(transport, expected));
        link.await
            .unwrap_or_else(|_| Err(unreachable("it does not answer")))
    }

    async fn dial_now(&self, transport: &QuicTransport, expected: Option<Node>) -> Dialled {
        let service = transport.service()?;
        let (id, address) = match (&self.target, &expected) {
            (Target::Member(id), Some(node)) => (Some(*id), node.address.as_str()),
            (Target::Member(_), None) => return Err(unreachable("its address is not known")),
            (Target::Address(address), _) => (None, address.as_str()),
        };
        let endpoint = &transport.0.endpoint;
        let address = resolve(endpoint, address)
            .await
            .map_err(Lost::Unreachable)?;
        let config = (transport.0.dial)(id).map_err(Lost::Unreachable)?;
        let connection = endpoint
            .connect_with(config, address, SERVER_NAME)
            .map_err(|error| unreachable(&error.to_string()))?
            .await
            .map_err(|error| ended(&error))?;
        let closing = ClosingOnError(Some(connection.clone()));
        let opening = Opening::Control(service.hello().map_err(Lost::Unreachable)?);
        let (send, mut recv, mut reader) = open(&connection, priority::CONTROL, &opening).await?;
        let greeting: Result<Hello, Rebuff> = read_one(&mut recv, &mut reader)
            .await
            .map_err(Lost::Unreachable)?;
        let hello = greeting.map_err(|rebuff| lost("it refuses this node: ", rebuff))?;
        let wanted = service.admit(&hello, id).and_then(|()| match &expected {
            Some(node) if node.incarnation != hello.identity.incarnation => {
                Err(Rebuff::for_good(format!(
                    "node {} has another data directory than the member of that number",
                    hello.node
                )))
            }
            _ => Ok(()),
        });
        if let Err(rebuff) = wanted {
            let reason = &rebuff.reason;
            tracing::warn!(peer = ?self.target, %address, reason, "a peer is not who it should be");
            return Err(lost("it is not wanted: ", rebuff));
        }
        closing.keep();
        tracing::debug!(peer = ?self.target, %address, "connected");
        Ok(Arc::new(Link {
            heard: Mutex::new(Heard {
                datagrams: 0,
                at: Instant::now(),
            }),
            control: Mux::new(send, recv, reader),
            forward: OnceCell::new(),
            hello,
            connection,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Ends the connection; the next who needs one may try at once.
    fn reset(&mut self, reason: &str) {
        if let Progress::Up(link) = &self.connection {
            link.close(reason);
        }
        self.failures = 0;
        self.connection = Progress::Down(Instant::now(), unreachable(reason));
    }
}

/// Closes a connection that is not to be used, with the reason that the other side sees.
struct ClosingOnError(Option<Connection>);

impl ClosingOnError {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for ClosingOnError {
    fn drop(&mut self) {
        if let Some(connection) = &self.0 {
            Close::Refused.close(connection, "the greeting was not as expected");
        }
    }
}

/// A connection to a peer that has said who it is.
pub(crate) struct Link {
    connection: Connection,
    hello: Hello,
    control: Mux,
    forward: OnceCell<Mux>,
    heard: Mutex<Heard>,
}

/// When something of the peer arrived last.
struct Heard {
    datagrams: u64,
    at: Instant,
}

impl Link {
    pub(super) fn is_alive(&self) -> bool {
        self.connection.close_reason().is_none()
            && self.control.is_open()
            && self.forward.get().is_none_or(Mux::is_open)
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// For what must not wait.
    pub(super) fn control(&self) -> &Mux {
        &self.control
    }

    /// For what replicas ask each other.
    pub(super) async fn forward(&self) -> Result<&Mux, Lost> {
        self.forward
            .get_or_try_init(|| async {
                let (send, recv, reader) =
                    open(&self.connection, priority::FORWARD, &Opening::Forward).await?;
                Ok(Mux::new(send, recv, reader))
            })
            .await
    }

    /// The peer did not answer in time. If nothing of it arrives at all, it is gone; waiting for
    /// QUIC to notice would take seconds.
    pub(super) fn suspect(&self) {
        let datagrams = self.connection.stats().udp_rx.datagrams;
        let now = Instant::now();
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if datagrams != heard.datagrams {
            *heard = Heard { datagrams, at: now };
        } else if now - heard.at > SILENCE_MAX {
            self.close("nothing of it arrives any more");
        }
    }

    fn close(&self, reason: &str) {
        Close::Done.close(&self.connection, reason);
    }
}

/// Opens a stream and says what it is for.
pub(super) async fn open(
    connection: &Connection,
    priority: i32,
    opening: &Opening,
) -> Result<(SendStream, RecvStream, FrameReader), Lost> {
    let lost = |error: &dyn std::fmt::Display| Lost::Unreachable(error.to_string());
    let (mut send, recv) = connection
        .open_bi()
        .await
        .map_err(|error| lost(&Ended::new(&error).message()))?;
    send.set_priority(priority).map_err(|error| lost(&error))?;
    write_one(&mut send, opening)
        .await
        .map_err(|error| lost(&error))?;
    Ok((send, recv, FrameReader::new(FRAME_BYTES_MAX)))
}

/// Sends one frame.
pub(super) async fn write_one<T: Serialize>(
    send: &mut SendStream,
    value: &T,
) -> Result<(), quinn::WriteError> {
    let mut writer = FrameWriter::new();
    writer.push(value);
    std::future::poll_fn(|context| writer.poll_write(context, send)).await?;
    Ok(())
}

/// Receives one frame.
pub(super) async fn read_one<T: serde::de::DeserializeOwned>(
    recv: &mut RecvStream,
    reader: &mut FrameReader,
) -> Result<T, String> {
    loop {
        match reader.next() {
            Next::Frame(payload) => {
                return codec::decode(payload).map_err(|error| error.to_string());
            }
            Next::Oversized { length, .. } => return Err(format!("a frame of {length} bytes")),
            Next::Partial => {}
        }
        let filled = std::future::poll_fn(|context| reader.poll_fill(context, recv)).await;
        match filled {
            Ok(0) => return Err("the other side has ended the stream".into()),
            Ok(_) => {}
            Err(quinn::ReadError::ConnectionLost(error)) => {
                return Err(Ended::new(&error).message().to_owned());
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// An address that this endpoint's socket can reach.
async fn resolve(endpoint: &quinn::Endpoint, address: &str) -> Result<SocketAddr, String> {
    let own = endpoint.local_addr().map_err(|error| error.to_string())?;
    let found = tokio::net::lookup_host(address)
        .await
        .map_err(|error| format!("{address}: {error}"))?;
    found
        .into_iter()
        // A socket for IPv6 may carry both.
        .find(|found| own.is_ipv6() || found.is_ipv4())
        .ok_or_else(|| format!("{address} has no address that can be reached from {own}"))
}
