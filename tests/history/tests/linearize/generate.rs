//! Random histories, right by construction: clients of a register that does one thing at a time.

use hostd_history::register::{Action, Input, Output, Value};
use hostd_history::{OperationId, Recorder};
use std::collections::BTreeMap;

use crate::notation::Registered;

/// SplitMix64: Guy Steele, Doug Lea and Christine Flood, "Fast splittable pseudorandom number
/// generators", 2014. Written out so that a seed means the same history for ever.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True about once in so many times.
    pub(crate) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

/// What kind of history to make.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) operations: usize,
    pub(crate) clients: usize,
    pub(crate) keys: u64,
    /// A client gives up on about one operation in so many.
    pub(crate) gives_up_once_in: u64,
    /// Values that are all different, or only a few.
    pub(crate) unique_values: bool,
    pub(crate) mix: Mix,
}

/// What clients ask.
#[derive(Clone, Copy)]
pub(crate) enum Mix {
    /// Gets and sets.
    Plain,
    /// Gets, sets, increments of one, compare-and-sets and deletes.
    Counting,
    /// Everything.
    All,
}

/// An operation on its way: sent, perhaps done, not yet returned.
struct Flight {
    id: OperationId,
    input: Input,
    done: Option<Output>,
}

struct World {
    random: Random,
    shape: Shape,
    recorder: Recorder<Input, Output>,
    values: BTreeMap<Vec<u8>, Value>,
    /// Operations that their clients wait for.
    clients: Vec<Option<Flight>>,
    /// Operations that their clients gave up on before they were done. They may still be.
    lost: Vec<Flight>,
    sent: usize,
}

/// A history of that shape. It ends with operations that are still on their way.
pub(crate) fn generate(seed: u64, shape: Shape) -> Vec<Registered> {
    let mut world = World {
        random: Random(seed),
        shape,
        recorder: Recorder::new(),
        values: BTreeMap::new(),
        clients: (0..shape.clients).map(|_| None).collect(),
        lost: Vec::new(),
        sent: 0,
    };
    while world.sent < shape.operations {
        world.turn();
    }
    // What was on its way at the end would return in the other case; a few may.
    for _ in 0..shape.clients {
        world.turn();
    }
    world.recorder.into_history()
}

impl World {
    /// One thing happens.
    fn turn(&mut self) {
        if !self.lost.is_empty() && self.random.once_in(20) {
            let which = self.random.below(self.lost.len() as u64) as usize;
            let flight = self.lost.swap_remove(which);
            self.run(&flight.input);
            return;
        }
        let client = self.random.below(self.shape.clients as u64) as usize;
        self.clients[client] = match self.clients[client].take() {
            None if self.sent == self.shape.operations => None,
            None => Some(self.send(client as u64)),
            Some(flight) if self.random.once_in(self.shape.gives_up_once_in * 2) => {
                if flight.done.is_none() {
                    self.lost.push(flight);
                }
                None
            }
            Some(Flight {
                id,
                done: Some(output),
                ..
            }) => {
                self.recorder.complete(id, output);
                None
            }
            Some(mut flight) => {
                flight.done = Some(self.run(&flight.input));
                Some(flight)
            }
        };
    }

    fn run(&mut self, input: &Input) -> Output {
        let value = self.values.entry(input.key.clone()).or_insert(Value(None));
        let (after, output) = input.action.run(value);
        *value = after;
        output
    }

    fn send(&mut self, client: u64) -> Flight {
        self.sent += 1;
        let key = format!("k{}", self.random.below(self.shape.keys)).into_bytes();
        let action = self.action(&key);
        let input = Input { key, action };
        Flight {
            id: self.recorder.invoke(client, input.clone()),
            input,
            done: None,
        }
    }

    fn action(&mut self, key: &[u8]) -> Action {
        let value = self.value();
        let choices = match self.shape.mix {
            Mix::Plain => 2,
            Mix::Counting => 5,
            Mix::All => 7,
        };
        match self.random.below(choices) {
            0 => Action::Get,
            1 => Action::Set(value),
            2 => Action::Increment(1),
            3 => Action::CompareAndSet {
                // Mostly a value that may be there, as clients that read first would have it.
                expected: match self.values.get(key) {
                    Some(Value(Some(current))) if !self.random.once_in(4) => current.clone(),
                    _ => self.value(),
                },
                new: value,
            },
            4 => Action::Delete,
            5 => Action::SetIfAbsent(value),
            _ => Action::Append(value),
        }
    }

    fn value(&mut self) -> Vec<u8> {
        if self.shape.unique_values {
            format!("v{}", self.sent).into_bytes()
        } else {
            self.random.pick(&["a", "b", "1"]).into()
        }
    }
}
