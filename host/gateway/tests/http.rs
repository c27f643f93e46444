//! HTTP over TLS: the certificate says who asks, and ALPN that it is HTTP/2.

mod support;

use std::sync::Arc;

use hostd_gateway::Limits;
use hostd_quic::SERVER_NAME;
use support::World;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

async fn dial(world: &World, protocol: &[u8]) -> TlsStream<TcpStream> {
    let mut config = world.admin().client_config().unwrap();
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(world.address).await.unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let name = SERVER_NAME.try_into().unwrap();
    let stream = connector.connect(name, stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol));
    stream
}

#[tokio::test]
async fn a_certificate_is_who_asks_over_http_1() {
    let world = World::new(Limits::default()).await;
    let mut stream = dial(&world, b"http/1.1").await;
    let request = b"POST /v1/call/any/who HTTP/1.1\r\nHost: any\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    // An end without a goodbye of TLS is an end as well.
    let _ = stream.read_to_string(&mut answer).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n\"admin\""), "{answer}");
}

#[tokio::test]
async fn a_certificate_is_who_asks_over_http_2() {
    let world = World::new(Limits::default()).await;
    let mut stream = dial(&world, b"h2").await;
    let frame = |kind: u8, flags: u8, id: u8, payload: &[u8]| {
        let head = [0, 0, payload.len() as u8, kind, flags, 0, 0, 0, id];
        [&head[..], payload].concat()
    };
    // POST, https, :path and :authority by the static table (RFC 7541, appendix A).
    let path = b"/v1/call/any/who";
    let block = [
        &[0x83, 0x87, 0x04, path.len() as u8][..],
        path,
        &[0x01, 3],
        b"any",
    ]
    .concat();
    let mut request = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    request.extend(frame(4, 0, 0, b""));
    request.extend(frame(1, 5, 1, &block));
    stream.write_all(&request).await.unwrap();
    let mut body = Vec::new();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        stream.read_exact(&mut payload).await.unwrap();
        match head[3] {
            0 => body.extend(payload),
            // The first field of an answer is its status; 0x88 is 200.
            1 => assert_eq!(payload[0], 0x88),
            _ => continue,
        }
        if head[4] & 1 == 1 {
            break;
        }
    }
    assert_eq!(body, b"\"admin\"");
}

#[tokio::test]
async fn who_proves_nothing_is_told_how_to() {
    let world = World::new(Limits::default()).await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let request = b"POST /v1/call/any/who HTTP/1.1\r\nHost: any\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 401 Unauthorized\r\n"),
        "{answer}"
    );
    assert!(
        answer.contains("\r\nwww-authenticate: Bearer realm=\"hostd\""),
        "{answer}"
    );
}
