//! The systems under load, each started, driven and stopped in its own file.

pub(crate) mod etcd;
pub(crate) mod hostd;
pub(crate) mod redis;
pub(crate) mod redis_benchmark;

use serde::Serialize;

/// What a load asks a system to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Work {
    /// hostd's smallest write.
    Ticket,
    /// Write one of [`KEYS`] keys with [`VALUE_BYTES`].
    Set,
    /// Read one of them, linearizably where the system can.
    Get,
    /// Redis only: count up one of [`KEYS`] keys.
    Incr,
}

/// Keys that SET and GET choose from at random.
pub(crate) const KEYS: u64 = 10_000;

/// Size of a value.
pub(crate) const VALUE_BYTES: usize = 64;

/// Clients of redis-benchmark, which is its own default.
pub(crate) const REDIS_CLIENTS: usize = 50;

impl Work {
    /// As the tables call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Work::Ticket => "ticket",
            Work::Set => "set",
            Work::Get => "get",
            Work::Incr => "incr",
        }
    }
}
