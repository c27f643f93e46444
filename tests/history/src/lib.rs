//! Histories of what clients asked a cluster and what they were told, and the checks over them.
//!
//! A [`Recorder`] stamps operations while a test runs. Afterwards the history goes to the checks:
//!
//! | check | holds when |
//! |---|---|
//! | [`linearize`] | some order of the operations explains every answer and respects real time |
//! | [`acknowledged`] | the values found at the end are those that acknowledged writes left |
//! | [`exactly_once`] | an acknowledged increment or token took effect once, an unknown one at most once |
//! | [`tickets`] | tickets are unique, and a later caller gets a larger one |
//! | [`expiry`] | a key lives until its deadline on the replicated clock, and not beyond |
//!
//! Two more are told what nodes do while they do it, and object at the event that is wrong:
//!
//! | check | holds when |
//! |---|---|
//! | [`monotonic`] | what must only rise on a node rises |
//! | [`agreement`] | nodes agree on leaders, log entries, committed entries and checkpoints |
//!
//! Every check names what contradicts what, and prints it one operation a line. A check that runs
//! twice over the same history says the same twice.
//!
//! This crate must not know hostd: no types of it, no clock, no sockets. What it judges must not
//! be able to mislead it through shared code.

#![forbid(unsafe_code)]

pub mod acknowledged;
pub mod agreement;
pub mod exactly_once;
pub mod expiry;
pub mod linearize;
pub mod model;
pub mod monotonic;
mod operation;
mod recorder;
pub mod register;
pub mod tickets;

pub use model::{Effect, Model};
pub use operation::{Operation, Outcome, Stamp};
pub use recorder::{OperationId, Recorder};
pub use register::Register;
