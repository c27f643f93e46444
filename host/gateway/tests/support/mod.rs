//! A gateway with a service made for tests, and a client that speaks raw frames.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt};
use hostd_gateway::{Caller, Doors, Gateway, Limits, Require, Service};
use hostd_pki::{Authority, Credentials};
use hostd_protocol::codec::{decode, encode_frame};
use hostd_protocol::{
    Call, CallError, Change, ChangeEvent, Changed, Consistency, Failure, FailureCode, NodeId,
    Reply, Request, Response, Revision, Watch, WatchItem,
};
use hostd_quic::{FrameReader, Next, Profile, SERVER_NAME};
use quinn::{Connection, ConnectionError, RecvStream, SendStream};
use serde_bytes::ByteBuf;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

/// Certificates, a listening gateway, and what reaches its service.
pub struct World {
    pub pki: TempDir,
    pub cluster: String,
    pub address: SocketAddr,
    pub gateway: Gateway,
    pub service: TestService,
    pub peers: mpsc::UnboundedReceiver<(NodeId, Connection)>,
}

impl World {
    pub async fn new(limits: Limits) -> Self {
        let pki = TempDir::new().unwrap();
        let authority = Authority::init(pki.path()).unwrap();
        authority.issue_node(1).unwrap();
        authority.issue_node(2).unwrap();
        let cluster = authority.cluster().to_owned();
        let credentials = Credentials::from_dir_node(pki.path(), 1).unwrap();
        let doors = Doors::bind(
            "127.0.0.1:0".parse().unwrap(),
            &credentials,
            Require::Nothing,
        )
        .await
        .unwrap();
        let address = doors.quic.local_addr().unwrap();
        let service = TestService::default();
        let (sender, peers) = mpsc::unbounded_channel();
        let gateway = Gateway::serve(
            doors,
            cluster.clone(),
            limits,
            service.clone(),
            Arc::new(move |id, connection| {
                let _ = sender.send((id, connection));
            }),
        );
        Self {
            pki,
            cluster,
            address,
            gateway,
            service,
            peers,
        }
    }

    pub fn admin(&self) -> Credentials {
        Credentials::from_dir_client(self.pki.path(), "admin").unwrap()
    }

    pub fn node(&self, id: NodeId) -> Credentials {
        Credentials::from_dir_node(self.pki.path(), id).unwrap()
    }

    pub async fn dial(
        &self,
        tls: quinn::rustls::ClientConfig,
    ) -> Result<Connection, ConnectionError> {
        let endpoint = hostd_quic::bind("127.0.0.1:0".parse().unwrap(), None).unwrap();
        let config = hostd_quic::client_config(tls, Profile::Client);
        endpoint
            .connect_with(config, self.address, SERVER_NAME)
            .unwrap()
            .await
    }

    /// A client with one open stream.
    pub async fn client(&self) -> RawClient {
        let connection = self
            .dial(self.admin().client_config().unwrap())
            .await
            .unwrap();
        RawClient::open(connection).await
    }
}

/// Speaks frames, without any of the client library's care.
pub struct RawClient {
    pub connection: Connection,
    pub send: SendStream,
    pub recv: RecvStream,
    reader: FrameReader,
}

pub type Answer = (u64, Result<Response, CallError>);

impl RawClient {
    pub async fn open(connection: Connection) -> Self {
        let (send, recv) = connection.open_bi().await.unwrap();
        Self {
            connection,
            send,
            recv,
            reader: FrameReader::new(64 << 20),
        }
    }

    pub async fn ask(&mut self, requests: &[(u64, Request)]) {
        let mut bytes = Vec::new();
        for request in requests {
            encode_frame(request, &mut bytes);
        }
        self.send.write_all(&bytes).await.unwrap();
    }

    /// The next answer; `None` when the stream has ended.
    pub async fn answer(&mut self) -> Option<Answer> {
        loop {
            if let Next::Frame(payload) = self.reader.next() {
                return Some(decode(payload).unwrap());
            }
            let (reader, recv) = (&mut self.reader, &mut self.recv);
            let count = std::future::poll_fn(|context| reader.poll_fill(context, recv)).await;
            if !matches!(count, Ok(1..)) {
                return None;
            }
        }
    }

    pub async fn answers(&mut self, count: usize) -> Vec<Answer> {
        let mut found = Vec::new();
        while found.len() < count {
            found.push(self.answer().await.expect("the stream goes on"));
        }
        found
    }
}

/// Commands: `echo ARG`; `hold`, which waits for [`TestService::release`]; `big BYTES`; `who`.
#[derive(Clone)]
pub struct TestService {
    released: Arc<watch::Sender<bool>>,
    pub handled: Arc<AtomicUsize>,
    pub principals: Arc<Mutex<Vec<String>>>,
}

impl Default for TestService {
    fn default() -> Self {
        Self {
            released: Arc::new(watch::Sender::new(false)),
            handled: Arc::default(),
            principals: Arc::default(),
        }
    }
}

impl TestService {
    pub fn release(&self) {
        self.released.send_replace(true);
    }
}

/// What a watcher of the test service is told.
pub type Told = BoxStream<'static, Result<WatchItem, CallError>>;

impl Service for TestService {
    type Watching = Told;

    /// Of `flood`, more than anybody can take; of `refused`, an error; of anything else, nothing.
    async fn watch(&self, _: &Caller, watch: Watch) -> Result<Told, CallError> {
        match watch.plugin.as_deref() {
            Some("flood") => {
                let value: Arc<[u8]> = vec![7; 100_000].into();
                let items = (1..).map(move |index| {
                    Ok(WatchItem::Changed(Changed {
                        revision: Revision::start_of(index),
                        changes: vec![Change {
                            plugin: "flood".into(),
                            event: ChangeEvent::Put {
                                key: b"key"[..].into(),
                                value: value.clone(),
                            },
                        }],
                    }))
                });
                Ok(stream::iter(items).boxed())
            }
            Some("refused") => Err(Failure::new(FailureCode::Unsupported, "refused").into()),
            _ => Ok(stream::pending().boxed()),
        }
    }

    async fn handle(&self, caller: &Caller, request: Request) -> Result<Response, CallError> {
        self.handled.fetch_add(1, Ordering::Relaxed);
        let Request::Call(call) = request else {
            return Err(Failure::new(FailureCode::Unsupported, "only calls").into());
        };
        match call.command.as_str() {
            "echo" => Ok(Response::Reply(Reply::Bytes(call.arguments[0].to_vec()))),
            "hold" => {
                let mut released = self.released.subscribe();
                released.wait_for(|released| *released).await.unwrap();
                Ok(Response::Done)
            }
            "big" => {
                let length = std::str::from_utf8(&call.arguments[0]).unwrap();
                Ok(Response::Reply(Reply::Bytes(vec![
                    7;
                    length.parse().unwrap()
                ])))
            }
            "who" => {
                self.principals
                    .lock()
                    .unwrap()
                    .push(caller.identity.to_string());
                Ok(Response::Reply(Reply::Text(caller.identity.to_string())))
            }
            "panic" => panic!("asked to"),
            other => panic!("unexpected command {other}"),
        }
    }

    fn unproved(&self) -> Option<Arc<str>> {
        None
    }

    fn prove(&self, _: SocketAddr, _: Option<&str>, _: &str) -> Option<Arc<str>> {
        None
    }
}

pub fn call(command: &str, argument: &[u8]) -> Request {
    Request::Call(Call {
        plugin: None,
        command: command.to_owned(),
        arguments: vec![ByteBuf::from(argument)],
        consistency: Consistency::Linearizable,
        once: None,
        timeout_ms: 10_000,
    })
}

/// Waits for a condition that another task brings about; a test that fails hangs no longer than
/// the deadline.
pub async fn eventually(mut condition: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_mins(2);
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "never came true");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
