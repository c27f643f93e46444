//! Replicates hostd's machine: the log and its disk, the peers and their network, and Raft
//! (openraft) in between.
//!
//! One write passes through here in this order: [`Replica::write`] routes it to the leader,
//! `propose` makes it part of an entry, `log_store` keeps it in memory and queues it for
//! `log_writer`, which makes it durable together with whatever else waits; `network` carries it
//! to the followers, who do the same; once a majority has it on disk, `state_machine` hands it to
//! `apply`, whose thread owns the machine, and the outcome goes back the way the call came.
//!
//! No other crate of what is shipped names openraft; the fuzz targets do, to make what a peer may
//! send. This crate must not know how clients connect, what certificates look like, or what a plugin
//! is. Clock, entropy, disk and transport come from outside
//! ([`ReplicaParts`]), and everything that would be a thread can be a task ([`WriterMode`]).

#![forbid(unsafe_code)]

mod apply;
mod backup;
mod checkpoints;
mod config;
mod divergence;
mod enroll;
mod heard;
mod history;
mod log_file;
mod log_store;
mod log_writer;
mod measure;
mod membership;
pub mod network;
mod observe;
mod pace;
mod prepare;
mod propose;
mod read_index;
mod replica;
mod room;
mod rules;
mod slow_disk;
mod spool;
mod state_machine;
mod status;
mod timekeeper;
pub mod types;
mod verify;
mod watch;

pub use backup::{
    Checked, Restoration, SnapshotError, SnapshotFile, SnapshotHeader, finish_restore, restore,
};
pub use config::{
    CheckpointPolicy, Clock, Entropy, Founding, ProposeLimits, ReplicaConfig, ReplicaParts, Timing,
};
pub use enroll::Enroller;
pub use history::{History, HistoryError};
pub use log_file::{
    FileBackend, LOG_FILE, LogDisk, MARK_FILE, STATE_FILE, create_private, once_free, open_database,
};
pub use log_store::OpenLogError;
pub use measure::{Distribution, Measures};
pub use membership::{FormError, Formation};
pub use network::quic::QuicTransport;
pub use pace::{Pace, Work, WriterMode};
pub use replica::{Leadership, OpenError, Replica, quarantined};
pub use room::{MeasureRoom, Room};
pub use state_machine::{ReceivedSnapshot, SnapshotData};
pub use watch::Watching;
