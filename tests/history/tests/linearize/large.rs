//! Histories as large as tests make them are decided within the budget.

use hostd_history::linearize::{self, Failure};
use hostd_history::register::{Action, Output, Register};

use crate::generate::{Mix, Shape, generate};
use crate::notation::{Registered, check};

/// Like an hour of a nemesis: about 300 operations time out.
const LARGE: Shape = Shape {
    operations: 20_000,
    clients: 16,
    keys: 20,
    gives_up_once_in: 66,
    unique_values: true,
    mix: Mix::Counting,
};

const SHAPES: [(&str, Shape); 5] = [
    ("counting", LARGE),
    (
        "plain",
        Shape {
            mix: Mix::Plain,
            ..LARGE
        },
    ),
    (
        "few values",
        Shape {
            unique_values: false,
            ..LARGE
        },
    ),
    (
        "all",
        Shape {
            mix: Mix::All,
            operations: 4_000,
            ..LARGE
        },
    ),
    (
        "one key",
        Shape {
            keys: 1,
            clients: 6,
            operations: 5_000,
            gives_up_once_in: 500,
            ..LARGE
        },
    ),
];

/// Right histories take a few steps an operation. A search that needs more than this has lost what
/// keeps it short.
const STEPS_MAX: u64 = 500_000;

#[test]
fn right_ones_are_accepted() {
    for (name, shape) in SHAPES {
        for seed in 0..5 {
            let history = generate(seed, shape);
            if let Err(failure) = linearize::check(&Register, &history, STEPS_MAX) {
                panic!("{name}, seed {seed}: {failure}");
            }
        }
    }
}

#[test]
fn a_stale_read_is_found() {
    let unique = SHAPES.into_iter().filter(|(_, shape)| shape.unique_values);
    for (name, shape) in unique {
        for seed in 0..5 {
            let mut history = generate(seed, shape);
            make_one_read_stale(&mut history);
            match check(&history) {
                Err(Failure::Violation(_)) => {}
                Err(undecided) => panic!("{name}, seed {seed}: {undecided}"),
                Ok(()) => panic!("{name}, seed {seed} is accepted"),
            }
        }
    }
}

/// Has a read in the last third find a value that another one found long before.
fn make_one_read_stale(history: &mut [Registered]) {
    // Such a value was set, not summed up: it comes about in one way.
    let found_what_was_set = |operation: &&Registered| {
        operation.input.action == Action::Get
            && matches!(operation.output(), Some(Output::Value(value)) if value[0] == b'v')
    };
    let early = history.iter().find(found_what_was_set);
    let early = early.expect("there are reads").clone();
    let from = history.len() * 2 / 3;
    let late = history[from..]
        .iter_mut()
        .find(|operation| operation.input == early.input && operation.outcome.is_some())
        .expect("the key is read again");
    late.outcome.as_mut().expect("it is known").output = early.outcome.expect("it is known").output;
}
