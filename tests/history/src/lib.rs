//! Histories of client operations, and the checks over them.
//!
//! A history is what clients did and saw, in one order of events: each operation was invoked at one
//! event and returned at a later one, or its outcome is unknown. The simulator and the tests with
//! real processes record histories and have them judged here. This crate must not know how they
//! came about.

#![forbid(unsafe_code)]

pub mod counter;
mod linearizability;
mod operation;
pub mod register;
pub mod tickets;
pub mod tokens;

pub use linearizability::{Model, Verdict, check};
pub use operation::{Operation, Recorder};
