//! What a search that found no order says.

use std::error::Error;
use std::fmt::{self, Debug, Display, Formatter};

use super::search::{Placed, Search};
use crate::model::Model;
use crate::operation::{Operation, Stamp};

/// How many operations of the longest order are printed: those that a reader needs to see why it
/// ends are at its end.
const PRINTED_MAX: usize = 12;

/// Why a history was not found linearizable.
pub enum Failure<M: Model> {
    /// No order explains it.
    Violation(Box<Violation<M>>),
    /// The budget ended before the search did. Raise it, or make histories with fewer clients on
    /// one key; the history is not known to be right.
    Undecided(Box<Undecided<M>>),
}

/// A key whose operations no order explains.
pub struct Violation<M: Model> {
    /// The key.
    pub key: M::Key,
    /// How many operations on the key there are.
    pub operations: usize,
    /// Where every order ends, at the latest.
    pub furthest: Furthest<M>,
}

/// A search that ended early.
pub struct Undecided<M: Model> {
    /// The first key that could not be decided.
    pub key: M::Key,
    /// How many keys could not be decided.
    pub keys: usize,
    /// How many operations on the key there are.
    pub operations: usize,
    /// How many of them have an unknown outcome and may matter.
    pub pending: usize,
    /// How many different configurations, sets of placed operations with a state, were visited.
    pub configurations: usize,
    /// How many steps of the model were taken: the budget.
    pub steps: u64,
    /// How far the search got.
    pub furthest: Furthest<M>,
}

/// The order that gets furthest in real time.
pub struct Furthest<M: Model> {
    /// The operations in their order, with those of unknown outcome that it makes use of.
    pub order: Vec<Operation<M::Input, M::Output>>,
    /// The state that it ends in.
    pub state: M::State,
    /// What may come next in real time. One of these must, and none can.
    pub stuck: Vec<Operation<M::Input, M::Output>>,
    /// It does not get past this return.
    pub barrier: Stamp,
}

impl<M: Model> Furthest<M> {
    pub(super) fn of(search: &Search<'_, M>) -> Self {
        let part = search.part;
        let furthest = search
            .furthest
            .expect("a search that failed ended somewhere");
        let order = search.order(furthest);
        let mut is_placed = vec![false; part.completed.len()];
        for placed in &order {
            if let Placed::Completed(index) = placed {
                is_placed[*index] = true;
            }
        }
        let may_be_next = part
            .completed
            .iter()
            .zip(is_placed)
            .filter(|(completed, is_placed)| {
                !is_placed && completed.operation.invoked < furthest.barrier
            });
        Furthest {
            stuck: may_be_next
                .map(|(completed, _)| completed.operation.clone())
                .collect(),
            order: order
                .into_iter()
                .map(|placed| match placed {
                    Placed::Completed(index) => part.completed[index].operation.clone(),
                    Placed::Pending(index) => part.pending[index].operation.clone(),
                })
                .collect(),
            state: M::State::clone(search.states.get(furthest.state)),
            barrier: furthest.barrier,
        }
    }
}

impl<M: Model> Display for Failure<M> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Violation(violation) => Display::fmt(violation, f),
            Failure::Undecided(undecided) => Display::fmt(undecided, f),
        }
    }
}

impl<M: Model> Display for Violation<M> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "key {:?} is not linearizable: no order of its {} operations gets past the return at \
             {}\n{}",
            self.key, self.operations, self.furthest.barrier, self.furthest
        )
    }
}

impl<M: Model> Display for Undecided<M> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "key {:?} is undecided after {} steps, keys like it: {}; of its {} operations {} have \
             an unknown outcome; {} configurations did not get past the return at {}\n{}",
            self.key,
            self.steps,
            self.keys,
            self.operations,
            self.pending,
            self.configurations,
            self.furthest.barrier,
            self.furthest
        )
    }
}

impl<M: Model> Display for Furthest<M> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let hidden = self.order.len().saturating_sub(PRINTED_MAX);
        let shown = &self.order[hidden..];
        let (count, all) = (shown.len(), self.order.len());
        writeln!(
            f,
            "the order that gets furthest, the last {count} of {all}:"
        )?;
        for operation in shown {
            writeln!(f, "  {operation}")?;
        }
        write!(
            f,
            "leaves {:?}, and none of these fits behind it:",
            self.state
        )?;
        for operation in &self.stuck {
            write!(f, "\n  {operation}")?;
        }
        Ok(())
    }
}

/// As printed: a test that unwraps shows the operations.
impl<M: Model> Debug for Failure<M> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

impl<M: Model> Debug for Violation<M> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

impl<M: Model> Debug for Undecided<M> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

impl<M: Model> Error for Failure<M> {}
impl<M: Model> Error for Violation<M> {}
impl<M: Model> Error for Undecided<M> {}
