//! The part of a history that is about one key.

use crate::model::{Effect, Model};
use crate::operation::{Operation, Stamp};

/// One key's operations, sorted for the search.
pub(super) struct Part<'a, M: Model> {
    /// Those with an outcome, in the order of invocation.
    pub(super) completed: Vec<Completed<'a, M>>,
    /// Those without, in the order of invocation, apart from those that cannot matter.
    pub(super) pending: Vec<Pending<'a, M>>,
}

/// An operation that must be placed between its invocation and its return.
pub(super) struct Completed<'a, M: Model> {
    pub(super) operation: &'a Operation<M::Input, M::Output>,
    pub(super) returned: Stamp,
    pub(super) output: &'a M::Output,
    pub(super) effect: Effect,
}

/// An operation that may be placed anywhere after its invocation, or not at all.
pub(super) struct Pending<'a, M: Model> {
    pub(super) operation: &'a Operation<M::Input, M::Output>,
    /// The same for operations that ask the same.
    pub(super) class: usize,
    /// The operation before this one that asks the same.
    pub(super) twin: Option<usize>,
    pub(super) effect: Effect,
}

impl<'a, M: Model> Part<'a, M> {
    pub(super) fn new(
        model: &M,
        mut operations: Vec<&'a Operation<M::Input, M::Output>>,
    ) -> Part<'a, M> {
        operations.sort_by_key(|operation| operation.invoked);
        let mut part = Part {
            completed: Vec::new(),
            pending: Vec::new(),
        };
        for operation in operations {
            match &operation.outcome {
                Some(outcome) => {
                    assert!(
                        operation.invoked < outcome.returned,
                        "operation #{} returns before it was invoked",
                        operation.id
                    );
                    part.completed.push(Completed {
                        operation,
                        returned: outcome.returned,
                        output: &outcome.output,
                        effect: model.effect(&operation.input, Some(&outcome.output)),
                    });
                }
                None => part.add_pending(model, operation),
            }
        }
        part.drop_unseen(model);
        part.link_twins();
        part
    }

    /// What only reads, and told nobody, explains nothing.
    fn add_pending(&mut self, model: &M, operation: &'a Operation<M::Input, M::Output>) {
        let effect = model.effect(&operation.input, None);
        if effect != Effect::None {
            self.pending.push(Pending {
                operation,
                class: 0,
                twin: None,
                effect,
            });
        }
    }

    /// Drops overwriting operations of unknown outcome whose state nobody can have seen.
    ///
    /// Suppose that an order places such an operation `p`, and look at what comes next. Nothing,
    /// or an overwriting operation: then the order without `p` ends in the same state, with the
    /// same answers, and `p` was not needed. A completed operation `x`: it must have been able to
    /// give its answer in the state that `p` leaves, which is one and the same wherever `p` is
    /// placed, and it must return after `p` was invoked. So without any such `x`, and without
    /// other operations of unknown outcome that could come in between, an order that places `p`
    /// exists only where one without it does.
    fn drop_unseen(&mut self, model: &M) {
        let any_depends = |pending: &Pending<'_, M>| pending.effect == Effect::Depends;
        if self.pending.iter().any(any_depends) {
            return;
        }
        let completed = &self.completed;
        self.pending.retain(|pending| {
            let input = &pending.operation.input;
            let key = model.key(input);
            let Some(left) = model.step(&model.initial(&key), input, None) else {
                return true;
            };
            completed.iter().any(|next| {
                let input = &next.operation.input;
                next.returned > pending.operation.invoked
                    && next.effect != Effect::Overwrites
                    && model.step(&left, input, Some(next.output)).is_some()
            })
        });
    }

    /// Finds operations of unknown outcome that ask the same.
    fn link_twins(&mut self) {
        for index in 0..self.pending.len() {
            let (before, from) = self.pending.split_at_mut(index);
            let this = &mut from[0];
            let same = |other: &Pending<'_, M>| other.operation.input == this.operation.input;
            this.twin = before.iter().rposition(same);
            this.class = this.twin.map_or(index, |twin| before[twin].class);
        }
    }
}
