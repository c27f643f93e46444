//! A gateway whose service answers at once: what the way through QUIC costs, with nothing behind it.
//!
//! ```text
//! cargo run --release -p hostd-client --example echo_server -- 127.0.0.1:11001 /tmp/echo-pki
//! hostctl --pki /tmp/echo-pki bench echo hello --clients 4 --in-flight 64
//! ```
//!
//! `echo` is a read; `ticket` is a write, so that it goes through a session.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures_util::stream::Pending;
use hostd_gateway::{Caller, Doors, Gateway, Limits, Service};
use hostd_protocol::{
    Access, CallError, CommandDescription, Failure, FailureCode, PluginDescription, Reply, Request,
    Response, Watch, WatchItem,
};

#[derive(Clone, Default)]
struct Echo {
    tickets: Arc<AtomicI64>,
}

impl Service for Echo {
    type Watching = Pending<Result<WatchItem, CallError>>;

    async fn handle(&self, _: &Caller, request: Request) -> Result<Response, CallError> {
        match request {
            Request::Call(call) if call.command == "ticket" => Ok(Response::Reply(Reply::Integer(
                self.tickets.fetch_add(1, Ordering::Relaxed) + 1,
            ))),
            Request::Call(call) => {
                // As a service does that waits for something.
                tokio::task::yield_now().await;
                let argument = call.arguments.into_iter().next().unwrap_or_default();
                Ok(Response::Reply(Reply::Bytes(argument.into_vec())))
            }
            Request::OpenSession => Ok(Response::Session(1)),
            Request::CloseSession { .. } => Ok(Response::Done),
            Request::Commands => Ok(Response::Commands(vec![description()])),
            Request::Members => Ok(Response::Members(Vec::new())),
            Request::Status { .. }
            | Request::Member(_)
            | Request::Plugin { .. }
            | Request::Plugins
            | Request::Log { .. }
            | Request::DryRun { .. }
            | Request::Verify { .. }
            | Request::Read(_)
            | Request::Metrics
            | Request::Policy
            | Request::ChangePolicy { .. }
            | Request::Snapshot(_)
            | Request::Barrier { .. }
            | Request::Raft
            | Request::Clock
            | Request::Token(_)
            | Request::Watch(_) => {
                Err(Failure::new(FailureCode::Unsupported, "this is no cluster").into())
            }
        }
    }

    async fn watch(&self, _: &Caller, _: Watch) -> Result<Self::Watching, CallError> {
        Err(Failure::new(FailureCode::Unsupported, "nothing changes here").into())
    }

    fn unproved(&self) -> Option<Arc<str>> {
        None
    }

    fn prove(&self, _: SocketAddr, _: Option<&str>, _: &str) -> Option<Arc<str>> {
        None
    }
}

fn description() -> PluginDescription {
    let command = |name: &str, access| CommandDescription {
        name: name.to_owned(),
        access,
        arguments: Vec::new(),
        summary: String::new(),
        details: String::new(),
        examples: Vec::new(),
    };
    PluginDescription {
        name: "echo".to_owned(),
        version: "0".to_owned(),
        summary: String::new(),
        state_version: 0,
        reads_state_versions: Vec::new(),
        migrates_state_versions: Vec::new(),
        migrates_by_key: false,
        commands: vec![
            command("echo", Access::Read),
            command("ticket", Access::Write),
        ],
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().ok_or("usage: echo_server ADDR PKI-DIR")?;
    let pki = PathBuf::from(arguments.next().ok_or("usage: echo_server ADDR PKI-DIR")?);
    let credentials = hostd_pki::provision(&pki, 1, &hostd_pki::ServerNames::local())?;
    let doors = Doors::bind_quic(address.parse()?, &credentials)?;
    let cluster = credentials.cluster().unwrap_or_default().to_owned();
    let gateway = Gateway::serve(
        doors,
        cluster,
        Limits::default(),
        Echo::default(),
        Arc::new(|_, _| {}),
    );
    println!("ready");
    tokio::signal::ctrl_c().await?;
    gateway.shutdown(std::time::Duration::from_secs(1)).await;
    Ok(())
}
