//! Who may connect as what, and how connections end.

mod support;

use std::fs;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use hostd_gateway::{Doors, Limits};
use hostd_pki::{Authority, Credentials};
use hostd_protocol::Response;
use hostd_quic::{Close, Ended};
use quinn::ConnectionError;
use quinn::rustls::{self, ClientConfig};
use rcgen::{CertificateParams, Issuer, KeyPair, SanType};
use support::{World, call, eventually};
use tempfile::TempDir;
use tokio::time::timeout;

/// How a connection ends that the server does not want. With TLS 1.3 a client can believe for a
/// moment that it is connected.
async fn refusal(world: &World, tls: ClientConfig) -> Ended {
    let error = match world.dial(tls).await {
        Ok(connection) => timeout(Duration::from_mins(2), connection.closed())
            .await
            .expect("the server closes the connection"),
        Err(error) => error,
    };
    Ended::new(&error)
}

#[tokio::test]
async fn a_peer_is_handed_over_with_its_proven_number() {
    let mut world = World::new(Limits::default()).await;
    let connection = world
        .dial(world.node(2).peer_config(Some(1)).unwrap())
        .await
        .unwrap();
    let (id, accepted) = world.peers.recv().await.unwrap();
    assert_eq!(id, 2);
    // Streams in both directions, more than a client gets.
    let mut open = Vec::new();
    for _ in 0..16 {
        let (mut send, recv) = connection.open_bi().await.unwrap();
        send.write_all(b"x").await.unwrap();
        open.push((send, recv));
        accepted.accept_bi().await.unwrap();
    }
    assert_eq!(world.gateway.load().connections(), 0);
}

#[tokio::test]
async fn the_door_is_chosen_by_alpn_and_each_wants_its_kind_of_certificate() {
    let mut world = World::new(Limits::default()).await;
    let client_as_peer = refusal(&world, world.admin().peer_config(Some(1)).unwrap()).await;
    assert!(
        matches!(&client_as_peer, Ended::Credentials(why) if why.contains("cannot connect as a node")),
        "{client_as_peer:?}"
    );
    let node_as_client = refusal(&world, world.node(2).client_config().unwrap()).await;
    assert!(
        matches!(&node_as_client, Ended::Credentials(why) if why.contains("pki issue")),
        "{node_as_client:?}"
    );
    let mut other_alpn = world.admin().client_config().unwrap();
    other_alpn.alpn_protocols = vec![b"h3".to_vec()];
    let other = refusal(&world, other_alpn).await;
    assert!(matches!(&other, Ended::Credentials(_)), "{other:?}");
    assert!(world.peers.try_recv().is_err());
}

#[tokio::test]
async fn a_node_of_another_cluster_of_the_same_authority_is_refused() {
    let mut world = World::new(Limits::default()).await;
    let path = |file: &str| world.pki.path().join(file);
    let read = |file: &str| fs::read_to_string(path(file)).unwrap();
    let issuer = Issuer::from_ca_cert_pem(
        &read("ca.pem"),
        KeyPair::from_pem(&read("ca-key.pem")).unwrap(),
    )
    .unwrap();
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::default();
    let name = "hostd://elsewhere/node/2".try_into().unwrap();
    parameters.subject_alt_names = vec![SanType::URI(name)];
    let certificate = parameters.signed_by(&key, &issuer).unwrap();
    fs::write(path("other.pem"), certificate.pem()).unwrap();
    fs::write(path("other-key.pem"), key.serialize_pem()).unwrap();
    let other =
        Credentials::load(&path("ca.pem"), &path("other.pem"), &path("other-key.pem")).unwrap();

    // It would refuse us as well; let it believe in us, so that only our judgement counts.
    let mut tls = world.node(2).peer_config(Some(1)).unwrap();
    tls.client_auth_cert_resolver = other.peer_config(None).unwrap().client_auth_cert_resolver;
    let ended = refusal(&world, tls).await;
    assert!(
        matches!(&ended, Ended::Credentials(why) if why.contains("cluster elsewhere")),
        "{ended:?}"
    );
    assert!(world.peers.try_recv().is_err());
}

#[tokio::test]
async fn strangers_are_refused_in_the_handshake() {
    let mut world = World::new(Limits::default()).await;
    // Of another authority, both the one they believe and the one that signed them.
    let elsewhere = TempDir::new().unwrap();
    let authority = Authority::init(elsewhere.path()).unwrap();
    authority.issue_node(2).unwrap();
    let foreign = Credentials::from_dir_client(elsewhere.path(), "admin").unwrap();
    let ended = refusal(&world, foreign.client_config().unwrap()).await;
    assert!(
        matches!(&ended, Ended::Credentials(why) if why.contains("not accepted")),
        "{ended:?}"
    );

    // Believing ours, signed by theirs.
    for (stem, alpn_peer) in [("admin", false), ("node-2", true)] {
        let path = |file: String| elsewhere.path().join(file);
        let intruder = Credentials::load(
            &world.pki.path().join("ca.pem"),
            &path(format!("{stem}.pem")),
            &path(format!("{stem}-key.pem")),
        )
        .unwrap();
        let tls = if alpn_peer {
            // It believes its own cluster's nodes only; let it believe ours.
            let mut tls = world.node(2).peer_config(None).unwrap();
            tls.client_auth_cert_resolver = intruder
                .peer_config(None)
                .unwrap()
                .client_auth_cert_resolver;
            tls
        } else {
            intruder.client_config().unwrap()
        };
        let ended = refusal(&world, tls).await;
        assert!(
            matches!(&ended, Ended::Credentials(why) if why.contains("not of its authority")),
            "{stem}: {ended:?}"
        );
    }

    // Without any certificate.
    let mut anonymous = world.admin().client_config().unwrap();
    anonymous.client_auth_cert_resolver =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth()
            .client_auth_cert_resolver;
    let ended = refusal(&world, anonymous).await;
    assert!(
        matches!(&ended, Ended::Credentials(why) if why.contains("demands a certificate")),
        "{ended:?}"
    );
    assert_eq!(world.gateway.load().connections(), 0);
    assert!(world.peers.try_recv().is_err());
}

#[tokio::test]
async fn garbage_at_the_port_and_silent_strangers_delay_nobody() {
    let world = World::new(Limits::default()).await;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut noise = 0x9e37_79b9_7f4a_7c15u64;
    for length in (0..1_400).step_by(7) {
        let bytes: Vec<u8> = (0..length)
            .map(|_| {
                noise = noise
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (noise >> 56) as u8
            })
            .collect();
        socket.send_to(&bytes, world.address).unwrap();
        // The same with the bits that make it look like a QUIC long header of version 1.
        if length > 8 {
            let mut initial = bytes;
            initial[..5].copy_from_slice(&[0xc3, 0, 0, 0, 1]);
            socket.send_to(&initial, world.address).unwrap();
        }
    }
    let mut client = world.client().await;
    client.ask(&[(1, call("echo", b"x"))]).await;
    assert!(client.answer().await.unwrap().1.is_ok());
}

#[tokio::test]
async fn connections_over_the_limit_are_told_so() {
    let world = World::new(Limits {
        connections_max: 2,
        ..Limits::default()
    })
    .await;
    let _first = world.client().await;
    let second = world.client().await;
    eventually(|| world.gateway.load().connections() == 2).await;
    let ended = refusal(&world, world.admin().client_config().unwrap()).await;
    assert!(
        matches!(&ended, Ended::Closed(Close::Overloaded, _)),
        "{ended:?}"
    );
    // Peers are not counted among them.
    let peer = world.node(2).peer_config(Some(1)).unwrap();
    let peer = world.dial(peer).await.unwrap();
    assert!(peer.close_reason().is_none());

    Close::Done.close(&second.connection, "");
    eventually(|| world.gateway.load().connections() == 1).await;
    let mut third = world.client().await;
    third.ask(&[(1, call("echo", b"x"))]).await;
    assert!(third.answer().await.unwrap().1.is_ok());
}

#[tokio::test]
async fn shutdown_answers_what_was_asked_and_says_goodbye() {
    let world = World::new(Limits::default()).await;
    let mut client = world.client().await;
    let idle = world.client().await;
    client.ask(&[(1, call("hold", b""))]).await;
    eventually(|| world.gateway.load().requests() == 1).await;
    let service = world.service.clone();
    let shutdown = tokio::spawn(world.gateway.shutdown(Duration::from_mins(2)));
    // An idle connection is closed at once, one that waits for an answer afterwards.
    let reason = idle.connection.closed().await;
    assert!(
        matches!(Ended::new(&reason), Ended::Closed(Close::ShuttingDown, _)),
        "{reason:?}"
    );
    service.release();
    assert_eq!(client.answer().await.unwrap(), (1, Ok(Response::Done)));
    assert_eq!(client.answer().await, None);
    let reason = client.connection.closed().await;
    assert!(matches!(
        Ended::new(&reason),
        Ended::Closed(Close::ShuttingDown, _)
    ));
    shutdown.await.unwrap();
}

#[tokio::test]
async fn shutdown_gives_up_after_its_grace() {
    let world = World::new(Limits::default()).await;
    let mut client = world.client().await;
    client.ask(&[(1, call("hold", b""))]).await;
    eventually(|| world.gateway.load().requests() == 1).await;
    world.gateway.shutdown(Duration::from_millis(50)).await;
    assert!(client.connection.close_reason().is_none());
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let world = World::new(Limits::default()).await;
    let error = Doors::bind_quic(world.address, &world.node(2))
        .unwrap_err()
        .to_string();
    assert!(error.contains(&world.address.to_string()), "{error}");
    assert!(error.contains("--listen"), "{error}");
}

#[tokio::test]
async fn a_client_may_not_open_streams_without_end() {
    let world = World::new(Limits::default()).await;
    let client = world.client().await;
    let connection = client.connection.clone();
    // A watch is a stream of its own, so there are many; and yet there is an end.
    let mut open = Vec::new();
    while let Ok(stream) = timeout(Duration::from_millis(200), connection.open_bi()).await {
        open.push(stream.unwrap());
        assert!(open.len() < 10_000, "no end");
    }
    let one_way = timeout(Duration::from_millis(200), connection.open_uni()).await;
    assert!(one_way.is_err());
    assert!(!matches!(
        connection.close_reason(),
        Some(ConnectionError::TransportError(_))
    ));
}
