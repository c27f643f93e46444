//! The command line, the environment and the configuration file, in this order of precedence.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand, ValueEnum};
use hostd_gateway::Require;
use serde::Deserialize;

use crate::config::{Config, ConfigError, Formation, Pki, Redirect, Secret, WATCH_BYTES};
use crate::dev::DevOptions;

/// Runs WebAssembly components as a replicated state machine.
///
/// `hostd --plugin ticket.wasm` on an empty directory is a working one-node cluster. A second
/// node on the same machine: `hostd --plugin ticket.wasm -n 2 -a 127.0.0.1:11002 -j
/// 127.0.0.1:11001`. Then: `hostctl call ticket`.
#[derive(Debug, Parser, Deserialize)]
#[command(
    name = "hostd",
    version,
    after_help = EXAMPLES,
    max_term_width = 100,
    args_conflicts_with_subcommands = true
)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Options {
    /// Something other than a node of a cluster.
    #[command(subcommand)]
    #[serde(skip)]
    pub command: Option<Command>,

    /// A plugin to install where the cluster lacks it; repeatable
    #[arg(long, value_name = "FILE", env = "HOSTD_PLUGIN", value_delimiter = ',')]
    #[serde(default)]
    pub plugin: Vec<PathBuf>,

    /// This node's number, 1 or more [default: 1]
    #[arg(short, long, value_name = "N", env = "HOSTD_NODE_ID")]
    pub node_id: Option<u64>,

    /// Address to listen on [default: 127.0.0.1:11001]
    #[arg(short = 'a', long, value_name = "ADDR", env = "HOSTD_LISTEN", value_parser = listen)]
    pub listen: Option<SocketAddr>,

    /// What others dial, when it differs from --listen
    #[arg(long, value_name = "ADDR", env = "HOSTD_ADVERTISE")]
    pub advertise: Option<String>,

    /// Data directory; node N lives in DIR/node-N [default: ./data]
    #[arg(short, long, value_name = "DIR", env = "HOSTD_DATA")]
    pub data: Option<PathBuf>,

    /// A member to join through, repeatable; ignored once this node belongs to a cluster
    #[arg(
        short,
        long,
        value_name = "ADDR",
        env = "HOSTD_JOIN",
        value_delimiter = ','
    )]
    #[serde(default)]
    pub join: Vec<String>,

    /// With the same --join list on every node: form a new cluster once N have met
    #[arg(long, value_name = "N", env = "HOSTD_BOOTSTRAP_EXPECT")]
    pub bootstrap_expect: Option<usize>,

    /// Directory of certificates and keys [default: DIR/pki, made on first start]
    #[arg(long, value_name = "DIR", env = "HOSTD_PKI")]
    pub pki: Option<PathBuf>,

    /// Certificate authority of your own PKI, PEM
    #[arg(long, value_name = "FILE", env = "HOSTD_CA", requires = "cert")]
    pub ca: Option<PathBuf>,

    /// This node's certificate, PEM; its URI names the cluster and the node
    #[arg(long, value_name = "FILE", env = "HOSTD_CERT", requires = "key")]
    pub cert: Option<PathBuf>,

    /// This node's private key, PEM
    #[arg(long, value_name = "FILE", env = "HOSTD_KEY", requires = "ca")]
    pub key: Option<PathBuf>,

    /// With --join and an empty --pki: a join token, for this node's certificate (hostctl token create)
    #[arg(
        long,
        value_name = "TOKEN",
        env = "HOSTD_TOKEN",
        hide_env_values = true
    )]
    pub token: Option<String>,

    /// Acknowledge before the disk has it: a power failure may lose acknowledged writes
    #[arg(long, env = "HOSTD_NO_SYNC")]
    #[serde(default)]
    pub no_sync: bool,

    /// Answer reads from local state, possibly stale
    #[arg(long, env = "HOSTD_OPEN_READS")]
    #[serde(default)]
    pub open_reads: bool,

    /// Configuration file, TOML, same names as the flags
    #[arg(long, value_name = "FILE", env = "HOSTD_CONFIG")]
    #[serde(skip)]
    pub config: Option<PathBuf>,

    /// What to log: error, warn, info, debug or trace [default: info]
    #[arg(short, long, value_name = "LEVEL", env = "HOSTD_LOG_LEVEL")]
    pub log_level: Option<LogLevel>,

    /// How to log [default: text]
    #[arg(long, value_name = "FORMAT", env = "HOSTD_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,

    /// Password of RESP and HTTP clients (AUTH, Basic); a path after @ names a file that holds it
    #[arg(
        long,
        value_name = "PASSWORD",
        env = "HOSTD_AUTH",
        hide_env_values = true
    )]
    pub auth: Option<String>,

    /// Start a new one-node cluster from a snapshot; refused when the data directory holds a node's data
    #[arg(long, value_name = "FILE", env = "HOSTD_RESTORE")]
    pub restore: Option<PathBuf>,

    /// What RESP and HTTP ask of a connection: tls, or a client certificate [default: neither]
    #[arg(long, value_name = "WHAT", env = "HOSTD_REQUIRE")]
    pub require: Option<RequireOption>,

    /// Access rules of a new cluster, one a line: IDENTITY admin | observe | read PATH | …
    #[arg(long, value_name = "FILE", env = "HOSTD_POLICY")]
    pub policy: Option<PathBuf>,
    /// Where this node does not lead, answer RESP clients MOVED and the leader's address, instead of
    /// passing their calls on
    #[arg(long, env = "HOSTD_REDIRECT")]
    #[serde(default)]
    pub redirect: bool,

    /// As --redirect, but answer TRY instead of MOVED
    #[arg(long, env = "HOSTD_TRY_ERRORS")]
    #[serde(default)]
    pub try_errors: bool,

    /// Newest changes that are kept for watchers, in memory and on disk [default: 32MiB]
    #[arg(long, value_name = "SIZE", env = "HOSTD_WATCH_HISTORY")]
    pub watch_history: Option<String>,

    /// Damaged or outdated data: set it aside, rejoin as a learner, vote once in sync
    #[arg(long, env = "HOSTD_RECOVER")]
    #[serde(default)]
    pub recover: bool,

    /// Behave as an earlier hostd that knows no newer rules than these, to rehearse a rolling upgrade
    #[arg(long, value_name = "VERSION")]
    pub rules_max: Option<u32>,
}

/// Parses an address to listen on.
fn listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!(
            "write an IP address and a port, such as {}",
            hostd_protocol::DEFAULT_ADDRESS
        )
    })
}

const EXAMPLES: &str = "\
Examples:
  hostd --plugin ticket.wasm                                     one node, in ./data
  hostd --plugin ticket.wasm -n 2 -a 127.0.0.1:11002 -j 127.0.0.1:11001
                                                                 a second one beside it
  hostctl status                                                 how they are
  hostd dev --plugin ~/votes                                     while you write a plugin";

/// Something other than a node of a cluster.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a plugin while it is being written: build, upgrade live, print each call
    Dev(DevOptions),
}

/// What to log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What stops a node.
    Error,
    /// What needs an eye.
    Warn,
    /// Milestones.
    #[default]
    Info,
    /// Decisions.
    Debug,
    /// Everything.
    Trace,
}

/// What RESP and HTTP ask of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RequireOption {
    /// TLS.
    Tls,
    /// TLS, with a client certificate of the cluster's authority.
    Certificate,
}

/// How to log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl Options {
    /// Fills what neither flags nor environment set from the configuration file.
    pub fn with_file(self) -> Result<Self, ConfigError> {
        let Some(path) = &self.config else {
            return Ok(self);
        };
        let bad = |detail: String| ConfigError::File {
            path: path.clone(),
            detail,
        };
        let text = std::fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
        let file: Options = toml::from_str(&text).map_err(|error| bad(error.to_string()))?;
        Ok(self.or(file))
    }

    fn or(self, file: Self) -> Self {
        let list = |own: Vec<_>, other| if own.is_empty() { other } else { own };
        Self {
            command: None,
            plugin: if self.plugin.is_empty() {
                file.plugin
            } else {
                self.plugin
            },
            node_id: self.node_id.or(file.node_id),
            listen: self.listen.or(file.listen),
            advertise: self.advertise.or(file.advertise),
            data: self.data.or(file.data),
            join: list(self.join, file.join),
            bootstrap_expect: self.bootstrap_expect.or(file.bootstrap_expect),
            pki: self.pki.or(file.pki),
            ca: self.ca.or(file.ca),
            cert: self.cert.or(file.cert),
            key: self.key.or(file.key),
            token: self.token.or(file.token),
            no_sync: self.no_sync || file.no_sync,
            open_reads: self.open_reads || file.open_reads,
            config: self.config,
            log_level: self.log_level.or(file.log_level),
            log_format: self.log_format.or(file.log_format),
            auth: self.auth.or(file.auth),
            restore: self.restore.or(file.restore),
            require: self.require.or(file.require),
            policy: self.policy.or(file.policy),
            redirect: self.redirect || file.redirect,
            try_errors: self.try_errors || file.try_errors,
            watch_history: self.watch_history.or(file.watch_history),
            recover: self.recover || file.recover,
            rules_max: self.rules_max.or(file.rules_max),
        }
    }

    /// The node's configuration.
    ///
    /// # Errors
    /// Names the flag and what to do about it.
    pub fn into_config(self) -> Result<Config, ConfigError> {
        let bad = |flag: &'static str, detail: String| ConfigError::Flag { flag, detail };
        let node_id = self.node_id.unwrap_or(1);
        if node_id == 0 {
            return Err(bad("--node-id", "node numbers start at 1".into()));
        }
        let listen = self.listen.unwrap_or_else(|| {
            hostd_protocol::DEFAULT_ADDRESS
                .parse()
                .expect("the default address is one")
        });
        if listen.ip().is_unspecified() && self.advertise.is_none() {
            return Err(bad(
                "--advertise",
                format!(
                    "listening on {listen} does not tell others what to dial; say --advertise HOST:PORT"
                ),
            ));
        }
        if let Some(address) = self
            .join
            .iter()
            .chain(&self.advertise)
            .find(|address| !is_address(address))
        {
            return Err(bad(
                "--join or --advertise",
                format!("{address:?} is not HOST:PORT"),
            ));
        }
        if self.restore.is_some() && (!self.join.is_empty() || self.recover) {
            let detail = "begins a new cluster: leave out --join, --bootstrap-expect and --recover; other \
                          nodes join this one later";
            return Err(bad("--restore", detail.into()));
        }
        let formation = match (self.join.is_empty(), self.bootstrap_expect) {
            (true, None) => Formation::Found,
            (false, None) => Formation::Join(self.join),
            (false, Some(expect)) if expect >= 1 => {
                let mut members = self.join;
                members.sort();
                members.dedup();
                if members.len() != expect && members.len() + 1 != expect {
                    return Err(bad(
                        "--bootstrap-expect",
                        format!(
                            "{expect} nodes are to begin, but --join names {}; name all of them, or \
                             all others. Further nodes join later, without --bootstrap-expect",
                            members.len()
                        ),
                    ));
                }
                Formation::Expect { members, expect }
            }
            _ => {
                let detail = "needs the same --join list on every node, and a number of 1 or more";
                return Err(bad("--bootstrap-expect", detail.into()));
            }
        };
        let data = self.data.unwrap_or_else(|| PathBuf::from("data"));
        let pki = match (self.ca, self.cert, self.key) {
            (Some(ca), Some(cert), Some(key)) => Pki::Files { ca, cert, key },
            (None, None, None) => Pki::Directory(self.pki.unwrap_or_else(|| data.join("pki"))),
            _ => return Err(bad("--ca, --cert and --key", "go together".into())),
        };
        Ok(Config {
            node_id,
            listen,
            advertise: self.advertise,
            data,
            formation,
            pki,
            plugins: self.plugin,
            sync: !self.no_sync,
            open_reads: self.open_reads,
            restore: self.restore,
            recover: self.recover,
            policy: match self.policy {
                Some(path) => crate::policy::read(&path)?,
                None => Vec::new(),
            },
            token: self.token.map(Secret::from),
            auth: self.auth.map(secret).transpose()?,
            require: match self.require {
                None => Require::Nothing,
                Some(RequireOption::Tls) => Require::Tls,
                Some(RequireOption::Certificate) => Require::Certificate,
            },
            redirect: match (self.try_errors, self.redirect) {
                (true, _) => Some(Redirect::Try),
                (false, true) => Some(Redirect::Moved),
                (false, false) => None,
            },
            watch_bytes: match &self.watch_history {
                Some(size) => bytes(size).ok_or_else(|| {
                    let detail = format!("{size:?} is not a size such as 32MiB");
                    bad("--watch-history", detail)
                })?,
                None => WATCH_BYTES,
            },
            rules_max: self.rules_max,
        })
    }
}

/// A password as it is given, or the first line of the file that `@` names.
fn secret(given: String) -> Result<Secret, ConfigError> {
    let bad = |detail: String| ConfigError::Flag {
        flag: "--auth",
        detail,
    };
    let secret = match given.strip_prefix('@') {
        None => given,
        Some(path) => std::fs::read_to_string(path)
            .map_err(|error| bad(format!("{path}: {error}")))?
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned(),
    };
    if secret.is_empty() {
        return Err(bad("the password is empty".into()));
    }
    Ok(secret.into())
}

/// A size: a number of bytes, or of KiB, MiB or GiB.
fn bytes(size: &str) -> Option<usize> {
    let digits = size.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match size[digits.len()..].trim() {
        "" | "B" => 1,
        "K" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        _ => return None,
    };
    digits.parse::<usize>().ok()?.checked_mul(unit)
}

/// Whether this has the form of `host:port`. Whether it resolves shows when it is dialled.
fn is_address(address: &str) -> bool {
    address
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

/// Reads a plugin file.
///
/// # Errors
/// Names the file.
pub fn read_plugin(path: &Path) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(path).map_err(|error| ConfigError::Plugin {
        path: path.to_owned(),
        detail: format!("{error}; `cargo xtask plugins` builds the examples into target/plugins"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Config, ConfigError> {
        Options::try_parse_from(std::iter::once(&"hostd").chain(arguments))
            .expect("flags parse")
            .into_config()
    }

    #[test]
    fn nothing_at_all_is_one_node_on_loopback() {
        let config = parse(&[]).unwrap();
        assert_eq!(
            (config.node_id, config.listen.to_string()),
            (1, "127.0.0.1:11001".into())
        );
        assert!(matches!(config.formation, Formation::Found));
        assert!(matches!(config.pki, Pki::Directory(path) if path == Path::new("data/pki")));
    }

    #[test]
    fn bad_values_name_the_flag() {
        for (arguments, flag) in [
            (&["-n", "0"][..], "--node-id"),
            (&["-a", "0.0.0.0:1"], "--advertise"),
            (&["-j", "nowhere"], "--join"),
            (&["--bootstrap-expect", "3"], "--bootstrap-expect"),
        ] {
            let error = parse(arguments).unwrap_err().to_string();
            assert!(error.contains(flag), "{arguments:?}: {error}");
        }
    }

    #[test]
    fn flags_win_over_the_file() {
        let file: Options =
            toml::from_str("node-id = 7\ndata = \"/srv\"\njoin = [\"a:1\"]").unwrap();
        let flags = Options::try_parse_from(["hostd", "-n", "3"]).unwrap();
        let config = flags.or(file).into_config().unwrap();
        assert_eq!((config.node_id, config.data), (3, PathBuf::from("/srv")));
        assert!(matches!(config.formation, Formation::Join(members) if members == ["a:1"]));
        assert!(
            toml::from_str::<Options>("nodeid = 7").is_err(),
            "misspelt names are refused"
        );
    }
}
