//! Nodes over QUIC on loopback, with certificates as in production.

use std::{path::Path, sync::Arc};

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
    wire_at(pki, id, "127.0.0.1:0")
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
    let endpoint = hostd_quic::bind(address.parse().unwrap(), Some(server)).unwrap();
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
