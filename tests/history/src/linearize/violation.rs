//! What a search that found no order says.

use std::error::Error;
use std::fmt::{self, Debug, Display, Formatter};

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
    Undecided(Undecided<M::Key>),
}

/// A key whose operations no order explains.
pub struct Violation<M: Model> {
    /// The key.
    pub key: M::Key,
    /// How many operations on the key were searched.
    pub operations: usize,
    /// The order that gets furthest, with the operations of unknown outcome it makes use of.
    pub prefix: Vec<Operation<M::Input, M::Output>>,
    /// The state that it ends in.
    pub state: M::State,
    /// What may come next in real time, and cannot: no order places all of these.
    pub stuck: Vec<Operation<M::Input, M::Output>>,
    /// No order gets past this return.
    pub returned: Stamp,
}

/// A search that ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecided<K> {
    /// The first key that could not be decided.
    pub key: K,
    /// How many keys could not be decided.
    pub keys: usize,
    /// How many operations on the key there are.
    pub operations: usize,
    /// How many of them have an unknown outcome and may have an effect.
    pub pending: usize,
    /// How many operations the longest order has that was found.
    pub placed_max: usize,
    /// How many different configurations, sets of placed operations with a state, were reached.
    pub configurations: usize,
    /// How many steps of the model were taken: the budget.
    pub steps: u64,
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
        writeln!(
            f,
            "key {:?} is not linearizable: no order of its {} operations gets past the return at {}",
            self.key, self.operations, self.returned
        )?;
        let hidden = self.prefix.len().saturating_sub(PRINTED_MAX);
        let shown = &self.prefix[hidden..];
        writeln!(
            f,
            "the longest order, the last {} of {}:",
            shown.len(),
            self.prefix.len()
        )?;
        for operation in shown {
            writeln!(f, "  {operation}")?;
        }
        writeln!(
            f,
            "leaves {:?}, and these do not fit behind it:",
            self.state
        )?;
        for operation in &self.stuck {
            writeln!(f, "  {operation}")?;
        }
        Ok(())
    }
}

impl<K: Debug> Display for Undecided<K> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "key {:?} is undecided after {} steps ({} keys are): of {} operations, {} of unknown \
             outcome, at most {} were placed, in {} configurations",
            self.key,
            self.steps,
            self.keys,
            self.operations,
            self.pending,
            self.placed_max,
            self.configurations
        )
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

impl<M: Model> Error for Failure<M> {}
impl<M: Model> Error for Violation<M> {}
impl<K: Debug> Error for Undecided<K> {}
