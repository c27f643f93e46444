//! Nodes in one process, each with a directory of its own.
#![allow(dead_code, missing_docs, unreachable_pub)]

pub mod cluster;
pub mod memory;
pub mod quic;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use hostd_machine::{Engine, Machine};
use hostd_protocol::{Command, Failure, NodeId, Reply};
use hostd_replica::{
    CheckpointPolicy, Founding, LogDisk, OpenError, ProposeLimits, Replica, ReplicaConfig,
    ReplicaParts, Timing, WriterMode, network::Transport, once_free, open_database,
};
use tokio::time::Instant;

/// One engine for all nodes of a test: making one takes a while.
pub fn engine() -> Arc<Engine> {
    static ENGINE: std::sync::OnceLock<Arc<Engine>> = std::sync::OnceLock::new();
    Arc::clone(ENGINE.get_or_init(|| Arc::new(Engine::new().unwrap())))
}

pub fn log_to_stderr() {
    let _ = tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "off".into()),
        )
        .with_writer(std::io::stderr)
        .try_init();
}

pub fn config(id: NodeId, address: &str, directory: &Path) -> ReplicaConfig {
    ReplicaConfig {
        id,
        address: address.to_owned(),
        mode: WriterMode::Thread,
        timing: Timing::default(),
        checkpoint: CheckpointPolicy {
            bytes: 16 << 20,
            interval: Duration::from_mins(10),
            ..CheckpointPolicy::default()
        },
        propose: ProposeLimits::default(),
        founding: Founding {
            cluster: format!("cluster-founded-by-{id}"),
            limits: hostd_protocol::Limits::default(),
        },
        spool: directory.to_owned(),
        snapshots: directory.join("snapshots"),
        state_file: directory.join("state.redb"),
        log_file: directory.join("log.redb"),
        replaces: false,
        watch_bytes: 1 << 20,
        unavailable_after: Duration::from_secs(10),
    }
}

pub async fn open<T: Transport>(
    config: ReplicaConfig,
    directory: &Path,
    transport: Arc<T>,
) -> Result<Replica, OpenError> {
    open_as(engine(), config, directory, transport).await
}

/// A node whose hostd is perhaps an older one.
pub async fn open_as<T: Transport>(
    engine: Arc<Engine>,
    config: ReplicaConfig,
    directory: &Path,
    transport: Arc<T>,
) -> Result<Replica, OpenError> {
    log_to_stderr();
    let state = once_free(|| open_database(&directory.join("state.redb"), true, 1 << 20)).await?;
    let machine = Machine::open(engine, state).expect("the state opens");
    let parts = ReplicaParts {
        log: once_free(|| LogDisk::open(directory, true)).await?,
        machine,
        transport,
        clock: Arc::new(|| {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            now.unwrap().as_nanos() as u64
        }),
        entropy: Arc::new(random),
        room: Arc::new(|| None),
    };
    Replica::open(config, parts).await
}

/// Different each time, which is all that a test needs.
fn random(bytes: &mut [u8]) {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    let mut seed = u64::from(std::process::id()) ^ now.as_nanos() as u64 ^ (count << 48);
    for byte in bytes {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        *byte = (seed >> 56) as u8;
    }
}

pub fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// A command whose outcome is a number that nobody gets twice and that only rises.
pub async fn ticket(replica: &Replica) -> Result<i64, Failure> {
    ticket_by(replica, soon()).await
}

pub async fn ticket_by(replica: &Replica, deadline: Instant) -> Result<i64, Failure> {
    let command = Command::OpenSession {
        principal: "test".into(),
    };
    match replica.write(command, deadline).await? {
        Ok(Reply::Integer(number)) => Ok(number),
        other => panic!("an unexpected outcome: {other:?}"),
    }
}

/// Waits until something is so.
pub async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let deadline = soon();
    while !condition().await {
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub async fn until_voters(replica: &Replica, count: usize) {
    until(&format!("{count} voters"), async || {
        let members = replica.members();
        members.len() == count && members.iter().all(|member| member.voter)
    })
    .await;
}

/// Makes a checkpoint and waits until it is durable everywhere, with equal digests.
pub async fn equal_states(replicas: &[&Replica]) {
    let before = replicas[0].applied_index();
    replicas[0].checkpoint(soon()).await.unwrap();
    until("equal digests at the same checkpoint", async || {
        let mut found = Vec::new();
        for replica in replicas {
            let status = replica.status(false).await.remove(0);
            found.push((status.checkpoint, status.digest));
        }
        found[0].0 > before && found.iter().all(|other| *other == found[0])
    })
    .await;
}

pub fn directory_of(root: &Path, id: NodeId) -> PathBuf {
    let directory = root.join(format!("node-{id}"));
    std::fs::create_dir_all(&directory).unwrap();
    directory
}
