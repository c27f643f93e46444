//! What a node needs to know to start.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use hostd_gateway::Require;
use hostd_pki::{
    CA_FILE, Credentials, PkiError, ServerNames, certificate_file, key_file, node_stem,
};
use hostd_protocol::{NodeId, Rule};
use thiserror::Error;

/// A node's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node's number, 1 or more.
    pub node_id: NodeId,
    /// Address to listen on; port 0 takes any free one.
    pub listen: SocketAddr,
    /// `host:port` that others dial, when it is not the address listened on.
    pub advertise: Option<String>,
    /// Data directory; this node lives in `node-N` below it.
    pub data: PathBuf,
    /// How this node comes to a cluster, as long as it belongs to none.
    pub formation: Formation,
    /// Where certificates come from.
    pub pki: Pki,
    /// Files of plugins to install where the cluster lacks them.
    pub plugins: Vec<PathBuf>,
    /// Acknowledge only what is on disk.
    pub sync: bool,
    /// Answer every read from local state, possibly stale.
    pub open_reads: bool,
    /// Begin a new cluster of one node with the state of this snapshot.
    pub restore: Option<PathBuf>,
    /// With data that cannot be used: set it aside, and learn everything anew from the others.
    pub recover: bool,
    /// A join token, for a node that has no certificate.
    pub token: Option<Secret>,
    /// The password of RESP and HTTP clients who are called [`DEFAULT_IDENTITY`].
    pub auth: Option<Secret>,
    /// What RESP and HTTP ask of a connection.
    pub require: Require,
    /// Rules of a new cluster.
    pub policy: Vec<Rule>,
    /// What a node that does not lead answers RESP clients' calls of plugins, instead of passing them on.
    pub redirect: Option<Redirect>,
    /// Size of the newest changes that are kept for watchers, in memory and on disk.
    pub watch_bytes: usize,
    /// Follow no newer rules than these, as an earlier hostd that does not know them.
    pub rules_max: Option<u32>,
}

impl Config {
    /// A one-node cluster on loopback, on any free port, in `data`.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        let data = data.into();
        Self {
            node_id: 1,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            advertise: None,
            formation: Formation::Found,
            pki: Pki::Directory(data.join("pki")),
            data,
            plugins: Vec::new(),
            sync: true,
            open_reads: false,
            restore: None,
            recover: false,
            token: None,
            auth: None,
            policy: Vec::new(),
            require: Require::Nothing,
            redirect: None,
            watch_bytes: WATCH_BYTES,
            rules_max: None,
        }
    }

    /// What others dial, when it listens on `bound`.
    pub(crate) fn address(&self, bound: SocketAddr) -> String {
        self.advertise.clone().unwrap_or_else(|| bound.to_string())
    }

    /// The names that this node's certificate is to have, for clients over TLS.
    pub(crate) fn server_names(&self) -> ServerNames {
        let local = ServerNames::local().with_host(&self.listen.ip().to_string());
        match self
            .advertise
            .as_deref()
            .and_then(|told| told.rsplit_once(':'))
        {
            Some((host, _)) => local.with_host(host),
            None => local,
        }
    }
}

/// Size of the changes that are kept for watchers unless something else is said.
pub(crate) const WATCH_BYTES: usize = 32 << 20;

/// Who a RESP or HTTP client is that gives no name: Redis's name for it.
pub const DEFAULT_IDENTITY: &str = "default";

/// What must not be seen: it is never printed, and compared in a time that tells nothing of it.
#[derive(Clone)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Whether the other one is the same.
    pub fn is(&self, other: &str) -> bool {
        // Digests have one length, and which bytes of them differ says nothing of the secret.
        blake3::hash(self.0.as_bytes()) == blake3::hash(other.as_bytes())
    }
}

impl Secret {
    /// The secret itself, for whoever it is for.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(secret: String) -> Self {
        Self(secret.into())
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secret(..)")
    }
}

/// How a RESP client is sent to the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirect {
    /// `MOVED 0 host:port`
    Moved,
    /// `TRY host:port`
    Try,
}

/// How a node that belongs to no cluster comes to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Formation {
    /// It founds one, alone.
    Found,
    /// It joins through the first of these members that answers.
    Join(Vec<String>),
    /// It founds one together with the others of this list, once enough of them have met.
    Expect {
        /// `host:port` of all of them; this node may be among them.
        members: Vec<String>,
        /// How many are enough.
        expect: usize,
    },
}

/// Where a node's certificates come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pki {
    /// hostd's own, in this directory; made when missing.
    Directory(PathBuf),
    /// The operator's.
    Files {
        /// Certificate authority.
        ca: PathBuf,
        /// This node's certificate.
        cert: PathBuf,
        /// This node's private key.
        key: PathBuf,
    },
}

/// The three files that a node's credentials are in.
#[derive(Clone, Debug)]
pub(crate) struct PkiFiles {
    pub(crate) ca: PathBuf,
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

impl Pki {
    /// Where a node's credentials are.
    pub(crate) fn files(&self, node: NodeId) -> PkiFiles {
        match self {
            Self::Directory(directory) => PkiFiles {
                ca: directory.join(CA_FILE),
                cert: certificate_file(directory, &node_stem(node)),
                key: key_file(directory, &node_stem(node)),
            },
            Self::Files { ca, cert, key } => PkiFiles {
                ca: ca.clone(),
                cert: cert.clone(),
                key: key.clone(),
            },
        }
    }
}

impl PkiFiles {
    pub(crate) fn load(&self) -> Result<Credentials, PkiError> {
        Credentials::load(&self.ca, &self.cert, &self.key)
    }
}

/// What is wrong with a configuration. Each says what to change.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// A flag's value, or a combination.
    #[error("{flag}: {detail}")]
    Flag {
        /// The flag or flags.
        flag: &'static str,
        /// What is wrong.
        detail: String,
    },
    /// The configuration file.
    #[error("--config {}: {detail}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// A plugin's file.
    #[error("--plugin {}: {detail}", path.display())]
    Plugin {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
}
