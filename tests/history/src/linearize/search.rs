//! The search for an order of one key's operations.
//!
//! It goes through configurations: a set of placed operations and the state they leave. The
//! operations that may come next are those that were invoked before any unplaced one returned;
//! each that can give its answer leads to another configuration, and no configuration is visited
//! twice. Jeannette Wing and Chun Gong, "Testing and verifying concurrent objects", 1993; Gavin
//! Lowe, "Testing for linearizability", 2017.
//!
//! Four things keep the number of configurations small. None of them loses an order, because of
//! all orders behind a configuration only the shortest count, those with the fewest operations of
//! unknown outcome:
//!
//! - **What changes nothing goes first.** When an operation can give its answer now, and with that
//!   answer never changes a state, an order that has it later still holds with it moved here. So
//!   it is placed and nothing else is tried instead. It does not do that it changes nothing here:
//!   where it is moved from, it might have.
//! - **Operations of unknown outcome are placed only where they are needed**; see [`chains`].
//! - **Fewer is better.** Of two configurations with the same completed operations and the same
//!   state, what the one with more operations of unknown outcome leads to, the other leads to as
//!   well.
//! - **What returns first is tried first.** This changes no result; an operation that took long
//!   then takes effect late, unless that does not work out.
//!
//! [`chains`]: super::chains

use std::collections::HashMap;

use super::bits::{Bits, Compact};
use super::chains::Chain;
use super::part::Part;
use super::states::{StateId, States};
use crate::model::{Effect, Model};
use crate::operation::Stamp;

/// How a search ended.
pub(super) enum Ending {
    /// There is an order.
    Found,
    /// There is none.
    None,
    /// There may be one that uses longer chains than allowed.
    Cut,
    /// The budget is used up.
    OutOfSteps,
}

/// An operation in an order: an index into the part's completed or pending ones.
#[derive(Clone, Copy, Debug)]
pub(super) enum Placed {
    Completed(usize),
    Pending(usize),
}

/// The configuration from which the search could not go on, with the latest return in its way.
#[derive(Clone, Copy)]
pub(super) struct Furthest {
    pub(super) barrier: Stamp,
    pub(super) placed: usize,
    step: usize,
    pub(super) state: StateId,
}

/// A search through one part of a history.
pub(super) struct Search<'a, M: Model> {
    pub(super) model: &'a M,
    pub(super) part: &'a Part<'a, M>,
    pub(super) states: States<M::State>,
    pub(super) pending: Bits,
    completed: Bits,
    visited: HashMap<(Compact, StateId), Vec<Compact>>,
    /// How each configuration was reached; the first is the beginning.
    path: Vec<Step>,
    pub(super) furthest: Option<Furthest>,
    pub(super) steps: u64,
    steps_max: u64,
}

/// What was placed to get from one configuration to another.
struct Step {
    from: usize,
    placed: Vec<Placed>,
}

/// A configuration that is being visited.
struct Frame {
    step: usize,
    state: StateId,
    /// The earliest return of an operation that is not placed: what was invoked later must wait.
    barrier: Stamp,
    candidates: Vec<Candidate>,
    chains: Vec<Chain>,
    /// The next pair of a chain and a candidate to try.
    next: (usize, usize),
}

/// A completed operation that may come next.
#[derive(Clone, Copy)]
pub(super) struct Candidate {
    pub(super) index: usize,
    /// The state it leaves; `None` when it cannot give its answer.
    pub(super) after: Option<StateId>,
}

impl<'a, M: Model> Search<'a, M> {
    pub(super) fn new(model: &'a M, part: &'a Part<'a, M>, steps_max: u64) -> Self {
        Search {
            model,
            part,
            states: States::new(),
            pending: Bits::new(part.pending.len()),
            completed: Bits::new(part.completed.len()),
            visited: HashMap::new(),
            path: Vec::new(),
            furthest: None,
            steps: 0,
            steps_max,
        }
    }

    /// Looks for an order that starts in `initial` and has no more than `chain_max` operations of
    /// unknown outcome one after the other.
    pub(super) fn run(&mut self, initial: M::State, chain_max: usize) -> Ending {
        let mut is_cut = false;
        let state = self.states.id(initial);
        let mut frames = Vec::new();
        frames.extend(self.enter(0, Vec::new(), state));
        while self.completed.len() < self.part.completed.len() {
            if self.is_out_of_steps() {
                frames.last().inspect(|frame| self.note_furthest(frame));
                return Ending::OutOfSteps;
            }
            let Some(frame) = frames.last_mut() else {
                return if is_cut { Ending::Cut } else { Ending::None };
            };
            if let Some((placed, state)) = self.next_move(frame) {
                let from = frame.step;
                frames.extend(self.enter(from, placed, state));
            } else if self.try_longer_chains(frame, chain_max, &mut is_cut) {
                frame.next = (0, 0);
            } else {
                let frame = frames.pop().expect("the last one was just there");
                self.note_furthest(&frame);
                self.take_back(frame.step);
            }
        }
        Ending::Found
    }

    pub(super) fn is_out_of_steps(&self) -> bool {
        self.steps > self.steps_max
    }

    /// Once all chains of one length were tried with all candidates: goes on to longer ones.
    /// `false` when there are none, or none as short as allowed.
    fn try_longer_chains(&mut self, frame: &mut Frame, max: usize, is_cut: &mut bool) -> bool {
        let is_at_max = frame.chains[0].len() == max;
        if is_at_max && *is_cut {
            return false;
        }
        let longer = self.lengthen(&frame.chains, frame.barrier);
        if longer.is_empty() {
            return false;
        }
        if is_at_max {
            *is_cut = true;
            return false;
        }
        frame.chains = longer;
        true
    }

    /// How many different configurations were visited.
    pub(super) fn configurations(&self) -> usize {
        self.path.len()
    }

    /// The order that leads to a configuration.
    pub(super) fn order(&self, furthest: Furthest) -> Vec<Placed> {
        let mut steps = Vec::new();
        let mut step = furthest.step;
        loop {
            steps.push(&self.path[step].placed);
            if step == 0 {
                break;
            }
            step = self.path[step].from;
        }
        steps.into_iter().rev().flatten().copied().collect()
    }

    /// Runs one operation of the model.
    pub(super) fn step(
        &mut self,
        state: StateId,
        input: &M::Input,
        output: Option<&M::Output>,
    ) -> Option<StateId> {
        self.steps += 1;
        let after = self.model.step(self.states.get(state), input, output)?;
        Some(self.states.id(after))
    }

    /// Goes to the configuration that `placed` leads to, and on over what changes nothing there.
    /// `None` when it leads nowhere new.
    fn enter(&mut self, from: usize, placed: Vec<Placed>, state: StateId) -> Option<Frame> {
        for operation in &placed {
            self.place(*operation);
        }
        let step = self.path.len();
        self.path.push(Step { from, placed });
        let (candidates, barrier) = self.absorb(step, state);
        if !self.visit(state) {
            self.take_back(step);
            self.path.pop();
            return None;
        }
        Some(Frame {
            step,
            state,
            barrier,
            candidates,
            chains: vec![Chain::empty(state)],
            next: (0, 0),
        })
    }

    /// Places everything that can give its answer and changes nothing. Answers what else may come
    /// next, what returns first at the front, and the barrier.
    fn absorb(&mut self, step: usize, state: StateId) -> (Vec<Candidate>, Stamp) {
        let part = self.part;
        // What was found not to be absorbed stays so: the state is the same.
        let mut candidates: Vec<Candidate> = Vec::new();
        loop {
            let mut barrier = Stamp::MAX;
            let mut fresh = Vec::new();
            for index in self.completed.missing(part.completed.len()) {
                let completed = &part.completed[index];
                if completed.operation.invoked > barrier {
                    break;
                }
                barrier = barrier.min(completed.returned);
                if candidates
                    .binary_search_by_key(&index, |known| known.index)
                    .is_err()
                {
                    fresh.push(index);
                }
            }
            let mut absorbed = false;
            for index in fresh {
                let completed = &part.completed[index];
                let after = self.step(state, &completed.operation.input, Some(completed.output));
                if completed.effect == Effect::None && after.is_some() {
                    debug_assert_eq!(after, Some(state), "the model says it has no effect");
                    absorbed = true;
                    self.place(Placed::Completed(index));
                    self.path[step].placed.push(Placed::Completed(index));
                } else {
                    let at = candidates.partition_point(|known| known.index < index);
                    candidates.insert(at, Candidate { index, after });
                }
            }
            if !absorbed {
                candidates.sort_by_key(|candidate| part.completed[candidate.index].returned);
                return (candidates, barrier);
            }
        }
    }

    /// Notes the configuration; `false` when it, or a better one, was visited before.
    fn visit(&mut self, state: StateId) -> bool {
        let visited = self
            .visited
            .entry((self.completed.compact(), state))
            .or_default();
        if visited.iter().any(|better| better.is_subset(&self.pending)) {
            return false;
        }
        visited.push(self.pending.compact());
        true
    }

    /// The next way on from a configuration, and the state it leads to.
    fn next_move(&mut self, frame: &mut Frame) -> Option<(Vec<Placed>, StateId)> {
        while let Some(chain) = frame.chains.get(frame.next.0) {
            let Some(&candidate) = frame.candidates.get(frame.next.1) else {
                frame.next = (frame.next.0 + 1, 0);
                continue;
            };
            frame.next.1 += 1;
            if let Some(state) = self.after_chain(chain, candidate) {
                let mut placed: Vec<Placed> = chain.taken().map(Placed::Pending).collect();
                placed.push(Placed::Completed(candidate.index));
                return Some((placed, state));
            }
        }
        None
    }

    fn note_furthest(&mut self, frame: &Frame) {
        let placed = self.completed.len();
        let is_further = |known: Furthest| (known.barrier, known.placed) < (frame.barrier, placed);
        if self.furthest.is_none_or(is_further) {
            self.furthest = Some(Furthest {
                barrier: frame.barrier,
                placed,
                step: frame.step,
                state: frame.state,
            });
        }
    }

    fn place(&mut self, operation: Placed) {
        match operation {
            Placed::Completed(index) => self.completed.insert(index),
            Placed::Pending(index) => self.pending.insert(index),
        }
    }

    fn take_back(&mut self, step: usize) {
        for operation in &self.path[step].placed {
            match *operation {
                Placed::Completed(index) => self.completed.remove(index),
                Placed::Pending(index) => self.pending.remove(index),
            }
        }
    }
}
