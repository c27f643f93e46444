//! Opening a node's replica, and its way into a cluster.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hostd_machine::{Engine, Machine, OpenError};
use hostd_pki::Credentials;
use hostd_protocol::{Limits, TimeNs};
use hostd_quic::Profile;
use hostd_replica::network::quic::QuicTransport;
use hostd_replica::{
    CheckpointPolicy, Formation, Founding, LOG_FILE, LogDisk, ProposeLimits, Replica,
    ReplicaConfig, ReplicaParts, Timing, WriterMode, once_free, open_database,
};

use crate::config::{self, Config};
use crate::data_dir::{DataDir, SPOOL_DIRECTORY, STATE_FILE};
use crate::node::StartError;

/// How much the state's file grows at once.
const STATE_GROWTH_BYTES: u64 = 1 << 20;

/// How long a call is held while no leader or no majority is there: longer than an election.
const UNAVAILABLE_AFTER: Duration = Duration::from_secs(3);

/// Opens log and state and starts to take part in whatever cluster they belong to.
pub(crate) async fn open(
    config: &Config,
    credentials: &Credentials,
    data: &DataDir,
    engine: Arc<Engine>,
    endpoint: &quinn::Endpoint,
    address: SocketAddr,
) -> Result<Replica, StartError> {
    let state_file = data.file(STATE_FILE);
    let damaged = |error: OpenError| StartError::State {
        path: state_file.clone(),
        node: config.node_id,
        detail: error.to_string(),
    };
    let backend = once_free(|| open_database(&state_file, config.sync, STATE_GROWTH_BYTES))
        .await
        .map_err(|error| damaged(OpenError::Storage(error.to_string())))?;
    let machine = Machine::open(engine, backend).map_err(damaged)?;
    let log = once_free(|| LogDisk::open(data.path(), config.sync))
        .await
        .map_err(|error| StartError::Log {
            node: config.node_id,
            detail: error.to_string(),
        })?;
    let parts = ReplicaParts {
        log,
        machine,
        transport: Arc::new(transport(credentials, endpoint)?),
        clock: Arc::new(wall_clock),
        entropy: Arc::new(|bytes: &mut [u8]| {
            getrandom::fill(bytes).expect("the operating system has entropy");
        }),
    };
    let replica_config = ReplicaConfig {
        id: config.node_id,
        address: config
            .advertise
            .clone()
            .unwrap_or_else(|| address.to_string()),
        mode: WriterMode::Thread,
        timing: Timing::default(),
        checkpoint: CheckpointPolicy::default(),
        propose: ProposeLimits::default(),
        founding: Founding {
            cluster: new_cluster_id(),
            limits: Limits::default(),
        },
        spool: data.file(SPOOL_DIRECTORY),
        state_file,
        log_file: data.file(LOG_FILE),
        unavailable_after: UNAVAILABLE_AFTER,
    };
    Replica::open(replica_config, parts)
        .await
        .map_err(|error| StartError::Log {
            node: config.node_id,
            detail: error.to_string(),
        })
}

/// Makes the node part of a cluster, unless it is. Waits for as long as it takes.
pub(crate) async fn form(config: &Config, replica: &Replica) -> Result<(), StartError> {
    let formation = match config.formation.clone() {
        config::Formation::Found => Formation::Alone,
        config::Formation::Join(through) => Formation::Join {
            through,
            learner: false,
        },
        config::Formation::Expect { members, expect } => Formation::Expect {
            through: members,
            count: expect,
        },
    };
    replica
        .form(formation)
        .await
        .map_err(|error| StartError::Formation(error.to_string()))
}

fn transport(
    credentials: &Credentials,
    endpoint: &quinn::Endpoint,
) -> Result<QuicTransport, StartError> {
    // Anybody of the cluster can be dialled if nobody in particular can: this finds a bad file
    // before it is needed.
    credentials.peer_config(None)?;
    let credentials = credentials.clone();
    let dial = move |expected| {
        let tls = credentials
            .peer_config(expected)
            .map_err(|error| error.to_string())?;
        Ok(hostd_quic::client_config(tls, Profile::Peer))
    };
    Ok(QuicTransport::new(endpoint.clone(), Arc::new(dial)))
}

/// The operating system's wall clock. Before 1970 it reads 0; the replicated clock rises all the
/// same.
fn wall_clock() -> TimeNs {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as TimeNs)
}

/// A random identity for a cluster that does not exist yet: 16 hexadecimal digits.
fn new_cluster_id() -> String {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the operating system has entropy");
    format!("{:016x}", u64::from_le_bytes(bytes))
}
