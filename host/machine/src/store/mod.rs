//! Where the state lives: an ordered map of rows in layers, the newest on top.
//!
//! ```text
//! writes   of the command that runs now       (dropped or merged when it ends)
//! active   since the last checkpoint          persistent map, shared with views
//! frozen   at the last checkpoint             being written to disk
//! base     redb                               the last durable checkpoint
//! ```
//!
//! Every row, whether a plugin's or the machine's own (sessions, timers, catalogue), is in this
//! one map, so one transaction makes a checkpoint durable and one digest covers it.

pub(crate) mod database;
mod digest;
mod flush;
mod key;
mod layers;
mod merge;
mod row;

pub(crate) use database::{Checkpoint, Store};
pub(crate) use digest::StateDigest;
pub use flush::{FlushJob, Flushed};
pub(crate) use hostd_protocol::Revision;
pub(crate) use key::{Key, Table, data_key, prefix_end, space_prefix};
pub(crate) use layers::{Base, Changes, Layers, Span, Writes, writes_bytes};
pub(crate) use merge::Step;
pub(crate) use row::Row;
