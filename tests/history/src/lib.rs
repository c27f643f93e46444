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
//! ```
//! use hostd_history::linearize::{self, STEPS_DEFAULT};
//! use hostd_history::register::{Action, Input, Output};
//! use hostd_history::{Recorder, Register};
//!
//! let mut recorder = Recorder::new();
//! let set = recorder.invoke(1, Input::new("k", Action::Set(b"v".to_vec())));
//! let get = recorder.invoke(2, Input::new("k", Action::Get));
//! recorder.complete(get, Output::Value(b"v".to_vec()));
//! let again = recorder.invoke(2, Input::new("k", Action::Get));
//! recorder.complete(again, Output::Nil);
//! // The set never returned: it may have happened, but once seen it has.
//! let history = recorder.into_history();
//! let failure = linearize::check(&Register, &history, STEPS_DEFAULT).unwrap_err();
//! println!("{failure}");
//! ```
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
