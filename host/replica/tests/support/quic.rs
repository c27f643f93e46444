//! Nodes over QUIC on loopback, with certificates as in production.

use std::{
    io::ErrorKind,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, Instant},
};

use hostd_pki::{Authority, Credentials, Identity};
use hostd_protocol::NodeId;
use hostd_quic::Profile;
use hostd_replica::QuicTransport;
use quinn::rustls::pki_types::CertificateDer;

pub struct Wire {
    pub transport: QuicTransport,
    pub endpoint: quinn::Endpoint,
    pub address: String,
}

/// A transport for a node, at a free port, with its certificate in `pki`.
pub fn wire(pki: &Path, id: NodeId) -> Wire {
    // At an address of its own: nobody else is given its port while it is down.
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    wire_at(pki, id, &format!("127.77.{high}.{low}:0"))
}

pub fn wire_at(pki: &Path, id: NodeId, address: &str) -> Wire {
    let authority = Authority::open_or_init(pki).unwrap();
    // A node that comes back has its certificate already.
    let issued = authority.issue_node(id);
    let credentials = match Credentials::from_dir_node(pki, id) {
        Ok(credentials) => Arc::new(credentials),
        Err(error) => panic!("{error}, issued: {issued:?}"),
    };
    let server = hostd_quic::server_config(credentials.server_config().unwrap());
    let endpoint = bind(address.parse().unwrap(), &server);
    let address = endpoint.local_addr().unwrap().to_string();
    let dial = Arc::new(move |expected| {
        let tls = credentials
            .peer_config(expected)
            .map_err(|error| error.to_string())?;
        Ok(hostd_quic::client_config(tls, Profile::Peer))
    });
    let transport = QuicTransport::new(endpoint.clone(), dial);
    tokio::spawn(accept(endpoint.clone(), transport.clone()));
    Wire {
        transport,
        endpoint,
        address,
    }
}

/// The socket of a node that was there before is closed some time after the node has ended.
fn bind(address: SocketAddr, server: &quinn::ServerConfig) -> quinn::Endpoint {
    let patience = Instant::now() + Duration::from_secs(30);
    loop {
        match hostd_quic::bind(address, Some(server.clone())) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < patience => {
                tokio::task::block_in_place(|| std::thread::sleep(Duration::from_millis(5)));
            }
            bound => return bound.unwrap(),
        }
    }
}

/// What the gateway does with connections of peers.
async fn accept(endpoint: quinn::Endpoint, transport: QuicTransport) {
    while let Some(incoming) = endpoint.accept().await {
        let transport = transport.clone();
        tokio::spawn(async move {
            let Ok(connection) = incoming.await else {
                return;
            };
            let certificates = connection
                .peer_identity()
                .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
                .unwrap();
            let Ok(Identity::Node { id, .. }) = Identity::from_certificate(&certificates[0]) else {
                return;
            };
            hostd_quic::credit_peer(&connection);
            transport.accept_peer(id, connection);
        });
    }
}
