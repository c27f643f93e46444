//! Operations of unknown outcome, placed only where they are needed.
//!
//! Such an operation may be left out, and may be moved towards the end as far as one likes. So of
//! the orders that are possible, the search looks only for those in which each one, `p` in state
//! `s`, is followed at once by an operation `x` that needs it there:
//!
//! - `p` changes `s`, and `x` does not give its answer and leave the same state without `p`.
//!   Otherwise the order without `p` will do, and it is shorter.
//! - When `x` is completed, `x` then `p` is not possible with the same answer and the same state.
//!   Otherwise swapping them will do: no real time keeps `p` from coming later or `x` from coming
//!   earlier, since only completed operations make others wait.
//! - When `x` has an unknown outcome too, one of two orders that come to the same is enough.
//! - Of operations that ask the same, the one invoked first is used first: where the later one may
//!   stand, the earlier one may as well.
//!
//! From any possible order, leaving out and swapping comes to an end, because each leaving out
//! makes it shorter, each swap with a completed operation moves that one forward, and each other
//! swap brings two into the fixed order. What it ends in is an order that the search looks for: a
//! chain of operations of unknown outcome, a completed one, another chain, and so on.

use super::search::{Candidate, Search};
use super::states::StateId;
use crate::model::{Effect, Model};
use crate::operation::Stamp;

/// Operations of unknown outcome that come one after the other, each needed by the next.
#[derive(Clone)]
pub(super) struct Chain {
    taken: Vec<usize>,
    /// The state before the last of them.
    before: StateId,
    state: StateId,
}

impl Chain {
    pub(super) fn empty(state: StateId) -> Self {
        Chain {
            taken: Vec::new(),
            before: state,
            state,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.taken.len()
    }

    pub(super) fn taken(&self) -> impl Iterator<Item = usize> {
        self.taken.iter().copied()
    }
}

impl<M: Model> Search<'_, M> {
    /// The state after a chain and a completed operation; `None` when that is not possible, or
    /// the operation does not need the chain.
    pub(super) fn after_chain(&mut self, chain: &Chain, next: Candidate) -> Option<StateId> {
        let part = self.part;
        let Some(&last) = chain.taken.last() else {
            return next.after;
        };
        let completed = &part.completed[next.index];
        if completed.effect == Effect::Overwrites {
            return None;
        }
        let (input, output) = (&completed.operation.input, Some(completed.output));
        let after = self.step(chain.state, input, output)?;
        let without = if chain.len() == 1 {
            next.after
        } else {
            self.step(chain.before, input, output)
        };
        let Some(without) = without else {
            return Some(after);
        };
        let is_needed = without != after && self.after_pending(without, last) != Some(after);
        is_needed.then_some(after)
    }

    /// All chains that are one longer. Only what was invoked before the barrier may come now.
    /// Incomplete when the budget is used up.
    pub(super) fn lengthen(&mut self, chains: &[Chain], barrier: Stamp) -> Vec<Chain> {
        let part = self.part;
        let mut longer = Vec::new();
        for chain in chains {
            for (next, pending) in part.pending.iter().enumerate() {
                if pending.operation.invoked > barrier || self.is_out_of_steps() {
                    break;
                }
                let is_taken = |index| self.pending.contains(index) || chain.taken.contains(&index);
                let is_turn = !is_taken(next) && pending.twin.is_none_or(is_taken);
                if is_turn && let Some(state) = self.after_link(chain, next) {
                    let mut taken = chain.taken.clone();
                    taken.push(next);
                    longer.push(Chain {
                        taken,
                        before: chain.state,
                        state,
                    });
                }
            }
        }
        longer
    }

    /// The state after a chain and one more operation of unknown outcome; `None` when that is not
    /// possible, changes nothing, or does not need the chain.
    fn after_link(&mut self, chain: &Chain, next: usize) -> Option<StateId> {
        let part = self.part;
        let last = chain.taken.last().copied();
        if last.is_some() && part.pending[next].effect == Effect::Overwrites {
            return None;
        }
        let after = self.after_pending(chain.state, next)?;
        if after == chain.state {
            return None;
        }
        let Some(last) = last else { return Some(after) };
        let Some(without) = self.after_pending(chain.before, next) else {
            return Some(after);
        };
        let is_other_order_used = part.pending[next].class < part.pending[last].class
            && self.after_pending(without, last) == Some(after);
        (without != after && !is_other_order_used).then_some(after)
    }

    fn after_pending(&mut self, state: StateId, index: usize) -> Option<StateId> {
        let part = self.part;
        self.step(state, &part.pending[index].operation.input, None)
    }
}
