//! Opening a node's replica, and its way into a cluster.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hostd_pki::CurrentCredentials;
use hostd_protocol::Limits;
use hostd_quic::Profile;
use hostd_replica::network::quic::QuicTransport;
use hostd_replica::{
    Entropy, Formation, Founding, LOG_FILE, OpenError, OpenLogError, ProposeLimits, Replica,
    ReplicaConfig, ReplicaParts, Timing,
};

use crate::config::{self, Config, Pki};
use crate::data_dir::{SNAPSHOT_DIRECTORY, SPOOL_DIRECTORY, STATE_FILE};
use crate::ground::Ground;
use crate::node::StartError;

/// How long a call is held while no leader or no majority is there: longer than an election.
const UNAVAILABLE_AFTER: Duration = Duration::from_secs(3);

/// Opens the log and starts to take part in whatever cluster log and state belong to.
pub(crate) async fn open(
    config: &Config,
    ground: Ground,
    address: SocketAddr,
) -> Result<Replica, StartError> {
    let Ground {
        credentials,
        doors,
        machine,
        log,
        clock,
        entropy,
        room,
        mode,
        checkpoint,
        directory,
        audit: _,
    } = ground;
    let replica_config = ReplicaConfig {
        id: config.node_id,
        address: config.address(address),
        mode,
        timing: Timing::default(),
        checkpoint,
        propose: ProposeLimits::default(),
        founding: Founding {
            cluster: new_cluster_id(&entropy),
            limits: Limits::default(),
        },
        spool: directory.join(SPOOL_DIRECTORY),
        snapshots: directory.join(SNAPSHOT_DIRECTORY),
        state_file: directory.join(STATE_FILE),
        log_file: directory.join(LOG_FILE),
        replaces: config.recover,
        watch_bytes: config.watch_bytes,
        unavailable_after: UNAVAILABLE_AFTER,
    };
    let parts = ReplicaParts {
        log,
        machine,
        transport: Arc::new(transport(&credentials, &doors.quic)?),
        clock,
        entropy,
        room,
    };
    Replica::open(replica_config, parts)
        .await
        .map_err(|error| StartError::Log {
            detail: error.to_string(),
            damage: matches!(
                error,
                OpenError::Mismatch(_) | OpenError::Log(OpenLogError::Damaged { .. })
            ),
        })
}

/// Why a node must not go on with data that is sound in itself, if so.
pub(crate) async fn outdated(config: &Config, replica: &Replica) -> Option<String> {
    if replica.quarantined() {
        return Some("its state was found to differ from the majority's".into());
    }
    let told = match &config.formation {
        config::Formation::Found => Vec::new(),
        config::Formation::Join(members) | config::Formation::Expect { members, .. } => {
            members.clone()
        }
    };
    let removed = replica.is_removed(told).await;
    removed.then(|| "it is not a member of its cluster any more".into())
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
    replica.form(formation).await.map_err(|error| {
        let error = error.to_string();
        let advice = advice(config, &error).unwrap_or_default();
        StartError::Formation(format!("{error}{advice}"))
    })
}

/// What to do where one of the nodes does not believe the other's certificate. A node that finds no
/// authority makes one, which on another machine than the cluster's first is a stranger to the others.
fn advice(config: &Config, error: &str) -> Option<String> {
    if !UNBELIEVED.iter().any(|said| error.contains(said)) {
        return None;
    }
    let id = config.node_id;
    let directory = match &config.pki {
        Pki::Files { .. } => {
            return Some(
                ". --ca, --cert and --key must be of the authority that the cluster has".to_owned(),
            );
        }
        Pki::Directory(directory) => directory.display(),
    };
    let ignored = if config.token.is_some() {
        "; --token is looked at only where there is none"
    } else {
        ""
    };
    Some(format!(
        ". {directory} has certificates of another authority than the cluster's{ignored}. Clear {directory}, unless \
         other nodes or clients use it, and start again with --token and what `hostctl token create` prints in the \
         cluster; or put there the cluster's ca.pem, and node-{id}.pem and node-{id}-key.pem that \
         `hostctl pki issue --node {id}` makes where the authority's key is"
    ))
}

/// What connections say of a certificate that is not of one's own authority: rustls, and the other side.
const UNBELIEVED: [&str; 3] = [
    "UnknownIssuer",
    "BadSignature",
    "this certificate is not of its authority",
];

fn transport(
    credentials: &CurrentCredentials,
    endpoint: &quinn::Endpoint,
) -> Result<QuicTransport, StartError> {
    // Anybody of the cluster can be dialled if nobody in particular can: this finds a bad file
    // before it is needed.
    credentials.get().peer_config(None)?;
    let credentials = credentials.clone();
    let dial = move |expected| {
        let tls = credentials
            .get()
            .peer_config(expected)
            .map_err(|error| error.to_string())?;
        Ok(hostd_quic::client_config(tls, Profile::Peer))
    };
    Ok(QuicTransport::new(endpoint.clone(), Arc::new(dial)))
}

/// A random identity for a cluster that does not exist yet: 16 hexadecimal digits.
pub(crate) fn new_cluster_id(entropy: &Entropy) -> String {
    let mut bytes = [0; 8];
    entropy(&mut bytes);
    format!("{:016x}", u64::from_le_bytes(bytes))
}
