//! What operators do while everything goes wrong, one file for each.

mod demote;
mod join;
mod remove;
mod replace;
mod restart;
mod transfer;

pub(crate) use replace::replace;

use crate::faults::Fault;

/// All that are planned; replacing a damaged node follows from its damage.
pub(crate) const ALL: &[&dyn Fault] = &[
    &join::Join,
    &remove::Remove,
    &demote::Demote,
    &transfer::Transfer,
    &restart::Graceful,
    &restart::Rolling,
];
