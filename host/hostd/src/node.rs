//! A node: everything wired together.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hostd_gateway::{Doors, Gateway, Limits};
use hostd_machine::Engine;
use hostd_pki::{CurrentCredentials, Identity, PkiError};
use hostd_protocol::{
    Call, CallError, Consistency, Failure, NodeId, PluginChange, Reply, UPLOAD_CHUNK_BYTES,
};
use thiserror::Error;
use tokio::time::Instant;

use crate::config::{Config, ConfigError};
use crate::data_dir::DataDir;
use crate::ground::{self, Ground};
use crate::plugins::PluginFile;
use crate::reload::Reload;
use crate::service::{ReadSink, Service};
use crate::{enroll, plugins, policy, recover, replication, restore};

/// How long a stopping node waits for another to take over, and for its clients' requests.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// How long an embedded call may take.
const CALL_TIMEOUT_MS: u32 = 10_000;

/// A running node. [`shutdown`](Self::shutdown) stops it cleanly; dropping it is as good as a
/// crash, which loses nothing.
pub struct Node {
    id: NodeId,
    address: SocketAddr,
    cluster: String,
    service: Service,
    gateway: Gateway,
    replica: hostd_replica::Replica,
    endpoint: quinn::Endpoint,
    /// Takes up certificates that change on disk.
    _reload: Option<Reload>,
    /// Locked as long as the node runs.
    _data: Option<DataDir>,
}

/// Why a node did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Certificates.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The certificate is not this node's.
    #[error(
        "the certificate is of {found}, not of node {node}; \
         issue one with: hostctl pki issue node-{node} --node {node}"
    )]
    WrongCertificate {
        /// Whose it is.
        found: Identity,
        /// This node.
        node: NodeId,
    },
    /// The address.
    #[error(transparent)]
    Bind(#[from] hostd_gateway::BindError),
    /// The data directory.
    #[error("data directory {}: {detail}", path.display())]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// Another process has the data directory.
    #[error("data directory {}: in use by another hostd; stop it, or choose another --data or --node-id", path.display())]
    DataInUse {
        /// The directory.
        path: PathBuf,
    },
    /// The state database.
    #[error("{}: {detail}. {}", path.display(), advice(*damage))]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
        /// The file is not what was written.
        damage: bool,
    },
    /// The log database, or log and state together.
    #[error("{detail}. {}", advice(*damage))]
    Log {
        /// What is wrong, and with which file.
        detail: String,
        /// The files are not what was written.
        damage: bool,
    },
    /// The data is sound, and must not be used any more. Found only where that can be mended.
    #[error("{0}")]
    Outdated(String),
    /// The data cannot be used, and cannot be set aside either.
    #[error("{reason} --recover: {why}. Nothing was changed")]
    CannotRecover {
        /// Why it cannot be used.
        reason: String,
        /// Why it is not set aside.
        why: String,
    },
    /// The cluster does not take this node.
    #[error("{0}")]
    Formation(String),
    /// The node met a fault before it was ready.
    #[error("{0}")]
    Fault(String),
    /// The operating system.
    #[error("{0}")]
    System(#[from] std::io::Error),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] hostd_machine::Fault),
}

/// What an operator does about a node that cannot use its own data.
fn advice(damage: bool) -> &'static str {
    if damage {
        "Nothing was changed. If the other nodes are well, start it again with --recover: it sets this \
         data aside and learns everything anew from them"
    } else {
        "Nothing was changed"
    }
}

impl StartError {
    /// Whether the node can come back with an empty directory.
    pub fn calls_for_recovery(&self) -> bool {
        match self {
            Self::State { damage, .. } | Self::Log { damage, .. } => *damage,
            Self::Outdated(_) => true,
            _ => false,
        }
    }
}

impl Node {
    /// Starts a node and returns once it belongs to a cluster that has its plugins.
    ///
    /// A node that joins waits for a member to answer, and says so in the log.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let engine = Engine::new()?;
        let engine = Arc::new(match config.rules_max {
            Some(newest) => engine.up_to_rules(newest),
            None => engine,
        });
        let files = plugins::load(&engine, &config.plugins)?;
        restore::check(&config)?;
        enroll::enroll(&config).await?;
        let credentials = ground::credentials(&config)?;
        let data = DataDir::open(&config.data, config.node_id)?;
        let doors = Doors::bind(config.listen, &credentials, config.require).await?;
        restore::restore(&config, &data, &engine, doors.quic.local_addr()?)?;
        let credentials = CurrentCredentials::from(credentials);
        let reload = Reload::start(&config, credentials.clone(), doors.clone());
        let start = async |config: &Config, data: &DataDir| {
            let (engine, credentials) = (Arc::clone(&engine), credentials.clone());
            let ground =
                Ground::of_system(config, engine, credentials, doors.clone(), data).await?;
            let node = Box::pin(Self::start_on(config, files.clone(), ground)).await?;
            recover::done(data);
            recover::remember_members(&node.replica, data);
            Ok(node)
        };
        let config = recover::resume(config, &data)?;
        let (started, data) = match start(&config, &data).await {
            Err(error) if config.recover && StartError::calls_for_recovery(&error) => {
                let (config, data) = recover::set_aside(config, data, &error)?;
                (start(&config, &data).await, data)
            }
            started => (started, data),
        };
        Ok(Self {
            _reload: Some(reload),
            _data: Some(data),
            ..started?
        })
    }

    /// As [`Node::start`], on whatever ground. Of the configuration, only what concerns the
    /// cluster is used. The ground's directory must have a directory `incoming`.
    pub async fn start_on(
        config: &Config,
        files: Vec<PluginFile>,
        ground: Ground,
    ) -> Result<Self, StartError> {
        Self::start_with(config, files, ground, None).await
    }

    pub(crate) async fn start_with(
        config: &Config,
        files: Vec<PluginFile>,
        ground: Ground,
        reads: Option<ReadSink>,
    ) -> Result<Self, StartError> {
        let (doors, audit) = (ground.doors.clone(), ground.audit.clone());
        let endpoint = doors.quic.clone();
        let address = endpoint.local_addr()?;
        let credentials = ground.credentials.get();
        let cluster_name = credentials.cluster().unwrap_or_default().to_owned();
        let replica = replication::open(config, ground, address).await?;
        if config.recover && replica.is_initialized() {
            if let Some(reason) = replication::outdated(config, &replica).await {
                replica.shutdown().await;
                return Err(StartError::Outdated(reason));
            }
            tracing::info!("--recover: the data is sound, and nothing is set aside");
        }
        let mut service = Service::new(replica.clone(), config, audit);
        if let Some(sink) = reads {
            service = service.tell_reads(sink);
        }
        let peers = replica.clone();
        let gateway = Gateway::serve(
            doors,
            cluster_name,
            Limits::default(),
            service.clone(),
            Arc::new(move |id, connection| peers.accept_peer(id, connection)),
        );
        let formed = async {
            replication::form(config, &replica).await?;
            policy::bootstrap(&service, &config.policy).await;
            plugins::install(&replica, files).await;
            Ok::<_, StartError>(replica.founded().await)
        };
        let cluster = tokio::select! {
            formed = formed => formed?,
            reason = replica.fault() => return Err(StartError::Fault(reason)),
        };
        Ok(Self {
            id: config.node_id,
            address,
            cluster,
            service,
            gateway,
            replica,
            endpoint,
            _reload: None,
            _data: None,
        })
    }

    /// This node's number.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// The address listened on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The cluster's identity.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Calls a command as `principal`, as a client of this node would: writes go through the
    /// log, reads are linearizable.
    pub async fn call<A: AsRef<[u8]>>(
        &self,
        principal: &str,
        command: &str,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Reply, CallError> {
        let arguments = arguments
            .into_iter()
            .map(|argument| argument.as_ref().to_vec().into())
            .collect();
        let call = Call {
            plugin: None,
            command: command.to_owned(),
            arguments,
            consistency: Consistency::Linearizable,
            once: None,
            timeout_ms: CALL_TIMEOUT_MS,
        };
        self.service.call(principal, call).await
    }

    /// Lets a component take over from the version of its plugin that runs, or installs it.
    pub(crate) async fn upgrade(
        &self,
        principal: &str,
        component: &[u8],
    ) -> Result<Reply, CallError> {
        let digest = *blake3::hash(component).as_bytes();
        let deadline = || Instant::now() + Duration::from_millis(CALL_TIMEOUT_MS.into());
        for (number, piece) in component.chunks(UPLOAD_CHUNK_BYTES).enumerate() {
            let change = PluginChange::Upload {
                digest,
                total: component.len() as u64,
                offset: (number * UPLOAD_CHUNK_BYTES) as u64,
                bytes: piece.to_vec(),
            };
            self.service
                .change_plugins(principal, change, deadline())
                .await?;
        }
        let change = PluginChange::Activate {
            digest,
            replace: true,
        };
        self.service
            .change_plugins(principal, change, deadline())
            .await
    }

    /// Waits until this node meets a fault of its own and returns the reason. The node serves
    /// nothing that needs its disk from then on.
    pub async fn fault(&self) -> String {
        self.replica.fault().await
    }

    /// As [`Node::fault`], for whoever cannot hold on to the node meanwhile.
    pub fn fault_of(&self) -> impl Future<Output = String> + Send + 'static {
        self.replica.fault_of()
    }

    /// Makes a checkpoint now, on every node of the cluster, and waits until the leader has applied
    /// it. Can be awaited by whoever cannot hold on to the node meanwhile.
    pub fn checkpoint(&self) -> impl Future<Output = Result<(), Failure>> + Send + 'static {
        let replica = self.replica.clone();
        async move {
            let within = Duration::from_millis(CALL_TIMEOUT_MS.into());
            replica.checkpoint(Instant::now() + within).await.map(drop)
        }
    }

    /// Hands leadership over, finishes what is in flight, and stops.
    pub async fn shutdown(self) {
        self.replica.hand_over(STOP_GRACE).await;
        self.gateway.shutdown(STOP_GRACE).await;
        self.replica.shutdown().await;
        self.endpoint.close(0u32.into(), b"the node stops");
        let _ = tokio::time::timeout(Duration::from_secs(1), self.endpoint.wait_idle()).await;
    }
}
