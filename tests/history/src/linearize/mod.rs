//! Linearizability: whether some order of the operations explains every answer.
//!
//! Maurice Herlihy and Jeannette Wing, "Linearizability: a correctness condition for concurrent
//! objects", 1990. The order must keep that of operations one of which returned before the other
//! was invoked. Operations of unknown outcome may be placed anywhere behind their invocation, or
//! left out.
//!
//! The problem is NP-complete, so each search has a budget. What makes searches long is not the
//! length of a history but how many operations on one key that change it overlap, and how many
//! different ones with unknown outcome there are that can act on each other.

mod bits;
mod chains;
mod part;
mod search;
mod states;
mod violation;

pub use violation::{Failure, Furthest, Undecided, Violation};

use std::collections::BTreeMap;

use self::part::Part;
use self::search::{Ending, Search};
use crate::model::Model;
use crate::operation::Operation;

/// A budget that decides what tests come up with, and ends within ten seconds a key at worst.
pub const STEPS_DEFAULT: u64 = 20_000_000;

/// How many operations of unknown outcome may follow each other, one search after the other. Long
/// chains are rarely needed and many, so an order without them is looked for first.
const CHAIN_MAX: [usize; 4] = [1, 2, 4, usize::MAX];

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
    let mut by_key: BTreeMap<M::Key, Vec<_>> = BTreeMap::new();
    for operation in history {
        let key = model.key(&operation.input);
        by_key.entry(key).or_default().push(operation);
    }
    let mut first_undecided: Option<Box<Undecided<M>>> = None;
    for (key, operations) in by_key {
        match check_key(model, key, operations, steps_max) {
            Ok(()) => {}
            Err(Failure::Undecided(undecided)) => match &mut first_undecided {
                Some(first) => first.keys += 1,
                None => first_undecided = Some(undecided),
            },
            Err(violation) => return Err(violation),
        }
    }
    match first_undecided {
        Some(undecided) => Err(Failure::Undecided(undecided)),
        None => Ok(()),
    }
}

fn check_key<M: Model>(
    model: &M,
    key: M::Key,
    operations: Vec<&Operation<M::Input, M::Output>>,
    steps_max: u64,
) -> Result<(), Failure<M>> {
    let count = operations.len();
    let part = Part::new(model, operations);
    let mut steps = 0;
    for chain_max in CHAIN_MAX {
        let mut search = Search::new(model, &part, steps_max - steps);
        let ending = search.run(model.initial(&key), chain_max);
        steps = steps_max.min(steps + search.steps);
        match ending {
            Ending::Found => return Ok(()),
            Ending::Cut => {}
            Ending::None => {
                return Err(Failure::Violation(Box::new(Violation {
                    key,
                    operations: count,
                    furthest: Furthest::of(&search),
                })));
            }
            Ending::OutOfSteps => {
                return Err(Failure::Undecided(Box::new(Undecided {
                    key,
                    keys: 1,
                    operations: count,
                    pending: part.pending.len(),
                    configurations: search.configurations(),
                    steps,
                    furthest: Furthest::of(&search),
                })));
            }
        }
    }
    unreachable!("the last search is not cut")
}
