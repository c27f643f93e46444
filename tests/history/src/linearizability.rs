//! Linearizability (Herlihy and Wing, 1990): is there an order of the operations in which each takes
//! effect at one moment between its invocation and its return?
//!
//! The search is Wing and Gong's with Lowe's memory of what was tried ("Testing for
//! linearizability", 2017): operations are taken in any order that real time allows, and a pair of
//! the set taken and the state reached is never tried twice. An operation whose outcome is unknown
//! may be taken at any time after its invocation, or never. Keys are independent, so each is
//! searched alone (Herlihy and Wing's locality).

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::hash::Hash;

use crate::Operation;

/// Tries that one key may take before its history is given up as undecided.
const STEPS_MAX: u64 = 2_000_000;

/// Operations that a report shows around the place where no order was found.
const SHOWN: usize = 30;

/// What the operations on one key do.
pub trait Model {
    /// What is asked.
    type Input: Clone + fmt::Debug;
    /// What is answered.
    type Output: Clone + fmt::Debug;
    /// What a key holds.
    type State: Clone + Eq + Hash + fmt::Debug;

    /// What a key holds at first.
    fn initial(&self) -> Self::State;

    /// The key of an operation.
    fn key(&self, input: &Self::Input) -> String;

    /// What a key holds after an operation; `None` when the answer is wrong in this state. Without
    /// an answer, any is right.
    fn step(
        &self,
        state: &Self::State,
        input: &Self::Input,
        output: Option<&Self::Output>,
    ) -> Option<Self::State>;

    /// Whether an operation changes nothing: without an answer it can be left out.
    fn is_read(&self, input: &Self::Input) -> bool;
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order.
    Linearizable,
    /// There is none; where the longest attempt ended.
    Violation(String),
    /// The search was given up.
    Undecided(String),
}

/// Judges a history.
pub fn check<M: Model>(model: &M, history: &[Operation<M::Input, M::Output>]) -> Verdict {
    let mut keys: BTreeMap<String, Vec<&Operation<M::Input, M::Output>>> = BTreeMap::new();
    for operation in history {
        if operation.returned.is_some() || !model.is_read(&operation.input) {
            keys.entry(model.key(&operation.input))
                .or_default()
                .push(operation);
        }
    }
    let mut undecided = None;
    for (key, operations) in keys {
        match Search::new(model, operations).run() {
            Found::Order => {}
            Found::Nothing(report) => {
                return Verdict::Violation(format!("key {key:?} is not linearizable\n{report}"));
            }
            Found::GaveUp => {
                undecided = Some(format!("key {key:?}: no verdict after {STEPS_MAX} steps"));
            }
        }
    }
    undecided.map_or(Verdict::Linearizable, Verdict::Undecided)
}

enum Found {
    Order,
    Nothing(String),
    GaveUp,
}

/// An end of a list.
const NONE: usize = usize::MAX;

/// One event of the history: an invocation, or a return.
#[derive(Clone, Copy)]
struct Event {
    operation: usize,
    /// For an invocation, the event of its return; [`NONE`] for a return, and for an operation
    /// without one.
    returns: usize,
    is_invocation: bool,
}

struct Search<'a, M: Model> {
    model: &'a M,
    operations: Vec<&'a Operation<M::Input, M::Output>>,
    events: Vec<Event>,
    // A doubly linked list of the events that are left, by position; the head comes last.
    next: Vec<usize>,
    previous: Vec<usize>,
    /// Operations with an answer that are not taken yet.
    left: usize,
}

impl<'a, M: Model> Search<'a, M> {
    fn new(model: &'a M, operations: Vec<&'a Operation<M::Input, M::Output>>) -> Self {
        let mut order: Vec<(u64, usize, bool)> = Vec::new();
        for (number, operation) in operations.iter().enumerate() {
            order.push((operation.invoked, number, true));
            if let Some((returned, _)) = &operation.returned {
                order.push((*returned, number, false));
            }
        }
        order.sort_unstable();
        let mut returns = vec![NONE; operations.len()];
        for (position, (_, number, is_invocation)) in order.iter().enumerate() {
            if !is_invocation {
                returns[*number] = position;
            }
        }
        let events: Vec<Event> = order
            .iter()
            .map(|(_, number, is_invocation)| Event {
                operation: *number,
                returns: if *is_invocation {
                    returns[*number]
                } else {
                    NONE
                },
                is_invocation: *is_invocation,
            })
            .collect();
        let head = events.len();
        let next = (0..head).map(|at| if at + 1 < head { at + 1 } else { NONE });
        let next = next.chain([if head == 0 { NONE } else { 0 }]).collect();
        let previous = (0..head)
            .map(|at| at.checked_sub(1).unwrap_or(head))
            .chain([NONE])
            .collect();
        let left = returns.iter().filter(|at| **at != NONE).count();
        Self {
            model,
            operations,
            events,
            next,
            previous,
            left,
        }
    }

    fn unlink(&mut self, at: usize) {
        let (before, after) = (self.previous[at], self.next[at]);
        self.next[before] = after;
        if after != NONE {
            self.previous[after] = before;
        }
    }

    fn link(&mut self, at: usize) {
        let (before, after) = (self.previous[at], self.next[at]);
        self.next[before] = at;
        if after != NONE {
            self.previous[after] = at;
        }
    }

    /// Takes an operation out.
    fn lift(&mut self, invocation: usize) {
        self.unlink(invocation);
        let returns = self.events[invocation].returns;
        if returns != NONE {
            self.unlink(returns);
            self.left -= 1;
        }
    }

    /// Puts it back, as long as the operations are put back in the reverse order.
    fn unlift(&mut self, invocation: usize) {
        let returns = self.events[invocation].returns;
        if returns != NONE {
            self.link(returns);
            self.left += 1;
        }
        self.link(invocation);
    }

    fn run(mut self) -> Found {
        let head = self.events.len();
        let mut state = self.model.initial();
        let mut taken = Set::new(self.operations.len());
        let mut tried: HashSet<(Set, M::State)> = HashSet::new();
        let mut path: Vec<(usize, M::State)> = Vec::new();
        let mut longest: Vec<usize> = Vec::new();
        let mut steps = 0;
        let mut at = self.next[head];
        while self.left > 0 {
            steps += 1;
            if steps > STEPS_MAX {
                return Found::GaveUp;
            }
            let candidate = (at != NONE).then(|| self.events[at]);
            match candidate {
                Some(event) if event.is_invocation => {
                    let operation = self.operations[event.operation];
                    let output = operation.returned.as_ref().map(|(_, output)| output);
                    let after = self.model.step(&state, &operation.input, output);
                    // An unknown operation that changes nothing now is of no use now.
                    let after = after.filter(|after| output.is_some() || *after != state);
                    if let Some(after) = after {
                        taken.insert(event.operation);
                        if tried.insert((taken.clone(), after.clone())) {
                            path.push((at, std::mem::replace(&mut state, after)));
                            self.lift(at);
                            if path.len() > longest.len() {
                                longest = path.iter().map(|(at, _)| *at).collect();
                            }
                            at = self.next[head];
                            continue;
                        }
                        taken.remove(event.operation);
                    }
                    at = self.next[at];
                }
                // Something had to be taken before this return, or before the end.
                _ => {
                    let Some((last, before)) = path.pop() else {
                        return Found::Nothing(self.report(&longest));
                    };
                    state = before;
                    taken.remove(self.events[last].operation);
                    self.unlift(last);
                    at = self.next[last];
                }
            }
        }
        Found::Order
    }

    /// The end of the longest order that was found, and what could not follow.
    fn report(&self, longest: &[usize]) -> String {
        let mut text = String::from("the longest order found ends with\n");
        let mut state = self.model.initial();
        let mut taken = vec![false; self.operations.len()];
        for (position, at) in longest.iter().enumerate() {
            let number = self.events[*at].operation;
            taken[number] = true;
            let operation = self.operations[number];
            let output = operation.returned.as_ref().map(|(_, output)| output);
            if let Some(after) = self.model.step(&state, &operation.input, output) {
                state = after;
            }
            if position + SHOWN / 2 >= longest.len() {
                text.push_str(&line(operation));
            }
        }
        text.push_str(&format!(
            "the state is then {state:?}; none of these can follow\n"
        ));
        let rest = self.operations.iter().enumerate();
        let mut rest: Vec<_> = rest.filter(|(number, _)| !taken[*number]).collect();
        rest.sort_by_key(|(_, operation)| operation.invoked);
        for (_, operation) in rest.into_iter().take(SHOWN / 2) {
            text.push_str(&line(operation));
        }
        text
    }
}

fn line<I: fmt::Debug, O: fmt::Debug>(operation: &Operation<I, O>) -> String {
    let (client, invoked, input) = (operation.client, operation.invoked, &operation.input);
    match &operation.returned {
        Some((returned, output)) => {
            format!("  {invoked:>7} to {returned:>7} client {client}: {input:?} -> {output:?}\n")
        }
        None => format!("  {invoked:>7} to       ? client {client}: {input:?} -> unknown\n"),
    }
}

/// A set of small numbers.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Set(Vec<u64>);

impl Set {
    fn new(size: usize) -> Self {
        Self(vec![0; size.div_ceil(64)])
    }

    fn insert(&mut self, number: usize) {
        self.0[number / 64] |= 1 << (number % 64);
    }

    fn remove(&mut self, number: usize) {
        self.0[number / 64] &= !(1 << (number % 64));
    }
}
