//! One row of `hostctl status -o json`.

use anyhow::{Context as _, Result};
use serde_json::Value;

/// What one member says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The node's number.
    pub id: u64,
    /// `host:port` that others dial.
    pub address: String,
    /// `leader`, `follower`, `candidate`, `learner` or `unknown`.
    pub role: String,
    /// Whether it is the leader.
    pub leader: bool,
    /// Raft's term.
    pub term: u64,
    /// Index of the first entry that is still in its log.
    pub first_log: u64,
    /// Index of the last entry in its log.
    pub last_log: u64,
    /// Index of the last applied entry.
    pub applied: u64,
    /// Log index of the last durable checkpoint.
    pub checkpoint: u64,
    /// Digest of the state at `checkpoint`.
    pub digest: String,
    /// Size of its databases.
    pub data_bytes: u64,
    /// `ok`, `lagging`, `quarantined` or `unreachable`.
    pub health: String,
    /// Whether it answered.
    pub reachable: bool,
    /// Names of installed plugins.
    pub plugins: Vec<String>,
}

impl Row {
    /// Reads the whole table.
    pub fn table(status: &Value) -> Result<Vec<Self>> {
        let rows = status.as_array().context("the status is not an array")?;
        rows.iter()
            .map(|row| Self::read(row).with_context(|| format!("a field is missing in {row}")))
            .collect()
    }

    fn read(row: &Value) -> Option<Self> {
        let text = |name: &str| row[name].as_str().map(str::to_owned);
        let plugins = row["plugins"].as_array()?.iter();
        Some(Self {
            id: row["id"].as_u64()?,
            address: text("address")?,
            role: text("role")?,
            leader: row["leader"].as_bool()?,
            term: row["term"].as_u64()?,
            first_log: row["first_log"].as_u64()?,
            last_log: row["last_log"].as_u64()?,
            applied: row["applied"].as_u64()?,
            checkpoint: row["checkpoint"].as_u64()?,
            digest: text("digest")?,
            data_bytes: row["data_bytes"].as_u64()?,
            health: text("health")?,
            reachable: row["reachable"].as_bool()?,
            plugins: plugins
                .map(|plugin| plugin["name"].as_str().map(str::to_owned))
                .collect::<Option<_>>()?,
        })
    }

    /// Whether it takes part as a voter.
    pub fn is_voter(&self) -> bool {
        matches!(self.role.as_str(), "leader" | "follower" | "candidate")
    }
}
