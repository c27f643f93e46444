//! What operations mean when they run one at a time.

use std::fmt::Debug;
use std::hash::Hash;

/// A sequential specification, one key at a time.
///
/// Keys are independent: a history is linearizable exactly when its part for each key is
/// (locality: Herlihy and Wing, "Linearizability: a correctness condition for concurrent
/// objects", 1990, section 3.1). Operations that belong together, such as on several keys at
/// once, need a model with one key for all of them.
pub trait Model {
    /// What partitions a history.
    type Key: Clone + Ord + Debug;
    /// What is asked.
    type Input: Clone + PartialEq + Debug;
    /// What is answered.
    type Output: Clone + Debug;
    /// What is remembered between operations on one key.
    type State: Clone + Eq + Hash + Debug;

    /// The key that an operation is about.
    fn key(&self, input: &Self::Input) -> Self::Key;

    /// The state before the first operation.
    fn initial(&self, key: &Self::Key) -> Self::State;

    /// The state after an operation; `None` when it cannot answer `output` in this state.
    ///
    /// An output of `None` is unknown, so every answer will do. The state afterwards must follow
    /// from `state` and `input` alone: with an unknown output it is the same as with the right
    /// one.
    fn step(
        &self,
        state: &Self::State,
        input: &Self::Input,
        output: Option<&Self::Output>,
    ) -> Option<Self::State>;

    /// What an operation with this output, or an unknown one, can have done to any state. Searches
    /// get faster the more they know, and [`Effect::Depends`] is always right.
    fn effect(&self, input: &Self::Input, output: Option<&Self::Output>) -> Effect {
        let _ = (input, output);
        Effect::Depends
    }
}

/// What an operation can have done to states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It leaves every state as it is in which it can give its answer.
    None,
    /// It can give its answer in every state, and always leaves the same one.
    Overwrites,
    /// Anything.
    Depends,
}
