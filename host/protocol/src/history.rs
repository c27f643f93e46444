//! What a node tells of its log: its entries for people, and how a new version would have fared on
//! them.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::{Outcome, TimeNs};

/// A piece of the log.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LogPage {
    /// Index of the first entry that this node still has.
    pub first: u64,
    /// Index of the last entry that is applied here.
    pub last: u64,
    /// Index of the checkpoint from which the log was played again. What came of the entries up to it is
    /// not known.
    pub checkpoint: u64,
    /// The lines, in order.
    pub lines: Vec<LogLine>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<u64>,
}

/// A command of the log, or an entry that holds none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    /// Index of the entry.
    pub index: u64,
    /// Place of the command in its entry.
    pub offset: u32,
    /// Term of the leader that proposed the entry.
    pub term: u64,
    /// Time of the command; `None` for entries without.
    pub time: Option<TimeNs>,
    /// What was logged.
    pub logged: Logged,
    /// What it came to, if that is known.
    pub outcome: Option<Outcome>,
    /// Fuel that it used, if that is known.
    pub fuel: Option<u64>,
}

/// What was logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Logged {
    /// A call of a plugin's command.
    Call {
        /// Who called.
        principal: String,
        /// The plugin; `None` when the command is nobody's.
        plugin: Option<String>,
        /// The command.
        command: String,
        /// The arguments; `None` for one that the plugin marks as secret, and for all of a command
        /// that no plugin has.
        arguments: Vec<Option<ByteBuf>>,
    },
    /// Anything else.
    Own {
        /// Who asked for it; empty when the cluster did by itself.
        principal: String,
        /// What it is, in one word.
        what: String,
        /// More about it.
        detail: String,
    },
}

/// How a version would have fared on the last calls of its plugin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DryRun {
    /// The plugin.
    pub plugin: String,
    /// The version that runs.
    pub present: String,
    /// The version that was tried.
    pub candidate: String,
    /// Index of the checkpoint from which the calls were played.
    pub checkpoint: u64,
    /// Calls of the plugin that are logged since.
    pub available: u64,
    /// Calls that were played on both versions, the last ones.
    pub calls: u64,
    /// Whether both keep their state in the same layout. Otherwise what they wrote is not compared: it
    /// must differ.
    pub same_layout: bool,
    /// How the version took over the state as it was before the first of them.
    pub takes_over: String,
    /// Calls with another outcome, or other changes.
    pub differing: u64,
    /// The first of those.
    pub differences: Vec<Difference>,
    /// Fuel of all calls by the version that runs.
    pub fuel_present: u64,
    /// Fuel of all calls by the version that was tried.
    pub fuel_candidate: u64,
}

/// A call that fares otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The call, with what it came to on the version that runs.
    pub line: LogLine,
    /// What it came to on the version that was tried; `None` when it did not take place.
    pub outcome: Option<Outcome>,
    /// Fuel that it used there.
    pub fuel: u64,
    /// What the two left behind otherwise; empty where a secret went in, or the layouts differ.
    pub writes: Vec<WriteDifference>,
}

/// What two versions made of one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteDifference {
    /// The key, or a timer's id.
    pub key: ByteBuf,
    /// Whether it is a timer's.
    pub timer: bool,
    /// What the version that runs wrote.
    pub present: Written,
    /// What the other one wrote.
    pub candidate: Written,
}

/// What was written to a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Written {
    /// It was left alone.
    Nothing,
    /// It was removed.
    Removed,
    /// This value; the first bytes of a long one.
    Value {
        /// The value's beginning.
        start: ByteBuf,
        /// The value's length, in bytes.
        bytes: u64,
    },
}
