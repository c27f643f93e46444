//! Linearizability: whether some order of the operations explains every answer.

mod violation;

pub use violation::{Failure, Undecided, Violation};

use crate::model::Model;
use crate::operation::Operation;

/// A budget that decides what tests come up with, and ends within a few seconds a key at worst.
pub const STEPS_DEFAULT: u64 = 5_000_000;

/// Checks that a history is linearizable.
///
/// Each key is searched alone, for at most `steps_max` steps of the model. A violation on any key
/// takes precedence over keys that could not be decided, so [`Failure::Undecided`] says that no
/// violation was found and that one may be there.
///
/// # Panics
/// When an operation returns before it was invoked: such a history was not recorded well.
pub fn check<M: Model>(
    model: &M,
    history: &[Operation<M::Input, M::Output>],
    steps_max: u64,
) -> Result<(), Failure<M>> {
    let _ = (model, history, steps_max);
    todo!()
}
