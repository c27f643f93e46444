//! hostd's deterministic heart: log entries in, outcomes and state out.
//!
//! Every replica gives the same [`Machine`] the same entries and reaches the same state, the
//! same outcomes and the same fuel, whatever its clock, its threads or its restarts. The rules
//! that make it so are in `docs/determinism.md`; the short form: the log and the state at a
//! checkpoint are the only inputs.
//!
//! This crate must not know: clocks, entropy, threads, sockets, async runtimes, consensus. Time
//! and seed arrive inside the entry; the disk is a [`redb::StorageBackend`] given from outside;
//! work that may run elsewhere ([`FlushJob`], queries on a [`View`]) is handed out as values.

#![forbid(unsafe_code)]

mod apply;
mod audit;
mod catalogue;
mod compile_cost;
mod fault;
mod imports;
mod inspect;
mod lifecycle;
mod machine;
mod migration;
mod plugin;
pub mod policy;
mod query;
mod random;
mod record;
mod rehearsal;
mod reply;
mod restore;
mod sessions;
mod show;
mod snapshot;
mod spent;
mod store;
mod system;
mod timers;
mod tokens;
mod uploads;
mod usage;
mod wasm;
mod watched;

pub use audit::{Audit, FoundRow, Names, Piece, Place, Rows, RowsAnswer, RowsQuestion, Sum};
pub use catalogue::Catalogue;
pub use fault::{Fault, OpenError};
pub use inspect::Inspection;
pub use machine::{Applied, Durable, Event, Input, Machine, Position};
pub use plugin::{CompileError, Plugin, PluginError};
pub use query::{Budget, View, Views};
pub use record::{CallRecord, Called, Change, Sink, Subject};
pub use rehearsal::{Rehearsal, Rehearsals};
pub use restore::{SnapshotSum, check_snapshot, restore};
pub use snapshot::{InstallError, SnapshotReader};
pub use spent::Spent;
pub use store::{FlushJob, Flushed};
pub use wasm::{Engine, RULES_POLICY, RULES_TOKENS};
pub use watched::{Past, PresentCursor, PresentPage};

pub use hostd_protocol::Revision;
