//! Settings of hostd's QUIC connections.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::congestion::CubicConfig;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    AsyncUdpSocket, ClientConfig, Connection, Endpoint, EndpointConfig, IdleTimeout,
    MtuDiscoveryConfig, ServerConfig, TokioRuntime, TransportConfig, VarInt,
};
use socket2::{Domain, Protocol, Socket, Type};

/// The name given where QUIC wants a server's name. Certificates are judged without it.
pub const SERVER_NAME: &str = "hostd";

/// A connection over which nothing comes for so long is dead.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// A connection with nothing to say says so this often.
const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// Round trip that is assumed before one is measured: retransmission of a lost first packet, and
/// so the time to reach a node through a lossy network, starts from it. Nodes are near each other.
const INITIAL_RTT: Duration = Duration::from_millis(2);

/// Bytes in flight on one stream: 40 MB/s over a round trip of 100 ms.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;

/// Bytes in flight on one connection of a client.
const CLIENT_WINDOW_BYTES: u32 = 8 << 20;

/// Bytes in flight on one connection of a peer: entries, snapshots and forwarded requests.
const PEER_WINDOW_BYTES: u32 = 32 << 20;

/// Streams that a client may have open: one for calls, some to spare, and one for each watch. What
/// they may take is the gateway's to bound.
const CLIENT_STREAMS: u32 = 4 + 4096;

/// Streams that a peer may have open.
const PEER_STREAMS: u32 = 64;

/// Largest datagram sent where the path allows it, found out by probing. quinn hands the kernel up
/// to ten datagrams in one send, which fails, and loses all ten, beyond 65 507 bytes.
const DATAGRAM_BYTES_MAX: u16 = 6500;

/// Bytes that may be on their way before the first is acknowledged: two milliseconds' worth at
/// 1 Gbit/s. quinn's own 12 000 are two datagrams on a path with large ones, so that a single
/// probe of the path's limit holds up everything else, even the reason for closing.
const INITIAL_WINDOW_BYTES: u64 = 256 << 10;

const _: () = assert!(DATAGRAM_BYTES_MAX as usize * 10 <= 65_507);

/// Room for bursts in the kernel; it grants what `net.core.rmem_max` allows.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

/// What a connection that is dialled is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// A client dials a node.
    Client,
    /// A node dials a node.
    Peer,
}

fn transport(streams: u32, window_bytes: u32) -> Arc<TransportConfig> {
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(DATAGRAM_BYTES_MAX);
    let mut congestion = CubicConfig::default();
    congestion.initial_window(INITIAL_WINDOW_BYTES);
    let mut config = TransportConfig::default();
    config
        .congestion_controller_factory(Arc::new(congestion))
        .max_concurrent_bidi_streams(VarInt::from_u32(streams))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(Some(
            IdleTimeout::try_from(IDLE_TIMEOUT).expect("seconds fit into a QUIC integer"),
        ))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .initial_rtt(INITIAL_RTT)
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(window_bytes))
        .send_window(u64::from(window_bytes))
        .send_fairness(false)
        .mtu_discovery_config(Some(mtu));
    Arc::new(config)
}

/// Settings of a listener. Who connects is known only after the handshake, so they are a client's
/// until [`credit_peer`] widens them.
///
/// Address validation before the handshake is the accept loop's to ask for (`Incoming::retry`),
/// when many connections are open.
///
/// # Panics
/// When `tls` lacks TLS 1.3 with AES-128-GCM, which QUIC needs.
pub fn server_config(tls: rustls::ServerConfig) -> ServerConfig {
    let crypto = QuicServerConfig::try_from(tls).expect("TLS 1.3 with AES-128-GCM");
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(transport(CLIENT_STREAMS, CLIENT_WINDOW_BYTES))
        .migration(false)
        .max_incoming(1024)
        // Handshakes that wait to be accepted are small; nobody may send data before.
        .incoming_buffer_size(64 << 10)
        .incoming_buffer_size_total(16 << 20);
    config
}

/// Settings of a connection that is dialled.
///
/// # Panics
/// When `tls` lacks TLS 1.3 with AES-128-GCM, which QUIC needs.
pub fn client_config(tls: rustls::ClientConfig, profile: Profile) -> ClientConfig {
    let crypto = QuicClientConfig::try_from(tls).expect("TLS 1.3 with AES-128-GCM");
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(match profile {
        // A node opens no stream towards a client.
        Profile::Client => transport(0, CLIENT_WINDOW_BYTES),
        Profile::Peer => transport(PEER_STREAMS, PEER_WINDOW_BYTES),
    });
    config
}

/// Gives an accepted connection what a peer gets and a client does not.
pub fn credit_peer(connection: &Connection) {
    connection.set_max_concurrent_bi_streams(VarInt::from_u32(PEER_STREAMS));
    connection.set_receive_window(VarInt::from_u32(PEER_WINDOW_BYTES));
    connection.set_send_window(u64::from(PEER_WINDOW_BYTES));
}

/// Opens a UDP socket for connections in both directions; with `server`, it also listens.
///
/// Must be called on a tokio runtime.
pub fn bind(address: SocketAddr, server: Option<ServerConfig>) -> io::Result<Endpoint> {
    let socket = socket(address)?;
    Endpoint::new(endpoint_config(), server, socket, Arc::new(TokioRuntime))
}

/// As [`bind`], on a socket that is not the operating system's.
pub fn bind_abstract(
    socket: Arc<dyn AsyncUdpSocket>,
    server: Option<ServerConfig>,
) -> io::Result<Endpoint> {
    Endpoint::new_with_abstract_socket(endpoint_config(), server, socket, Arc::new(TokioRuntime))
}

fn endpoint_config() -> EndpointConfig {
    let mut config = EndpointConfig::default();
    config
        .max_udp_payload_size(DATAGRAM_BYTES_MAX)
        .expect("at least the 1200 bytes of RFC 9000");
    config
}

fn socket(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        // `[::]` means every address of the machine; the platform's default varies.
        socket.set_only_v6(false)?;
    }
    for result in [
        socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES),
        socket.set_send_buffer_size(SOCKET_BUFFER_BYTES),
    ] {
        if let Err(error) = result {
            tracing::debug!(%error, "the kernel keeps its default for the socket's buffers");
        }
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}
