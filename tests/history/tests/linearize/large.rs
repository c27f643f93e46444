//! Histories as large as tests make them are decided within the budget.

use std::time::Instant;

use hostd_history::linearize::Failure;
use hostd_history::register::{Action, Output};

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

#[test]
fn right_ones_are_accepted() {
    for (name, shape) in SHAPES {
        for seed in 0..5 {
            let history = generate(seed, shape);
            let begin = Instant::now();
            let result = check(&history);
            eprintln!(
                "{name} {seed}: {} pending, {:?}",
                pending(&history),
                begin.elapsed()
            );
            if let Err(failure) = result {
                panic!("{name}, seed {seed}: {failure}");
            }
        }
    }
}

/// In the last third, a read finds a value that another one found long before.
#[test]
fn a_stale_read_is_found() {
    for (name, shape) in SHAPES {
        for seed in 0..5 {
            let mut history = generate(seed, shape);
            make_one_read_stale(&mut history);
            let begin = Instant::now();
            let result = check(&history);
            eprintln!("{name} {seed}: {:?}", begin.elapsed());
            match result {
                Err(Failure::Violation(_)) => {}
                Err(undecided) => panic!("{name}, seed {seed}: {undecided}"),
                Ok(()) if shape.unique_values => panic!("{name}, seed {seed} is accepted"),
                Ok(()) => {}
            }
        }
    }
}

fn pending(history: &[Registered]) -> usize {
    let unknown = history
        .iter()
        .filter(|operation| operation.outcome.is_none());
    unknown.count()
}

fn make_one_read_stale(history: &mut [Registered]) {
    let is_read = |operation: &&Registered| {
        operation.input.action == Action::Get
            && matches!(operation.output(), Some(Output::Value(_)))
    };
    let early = history
        .iter()
        .find(is_read)
        .expect("there are reads")
        .clone();
    let from = history.len() * 2 / 3;
    let late = history[from..]
        .iter_mut()
        .find(|operation| operation.input == early.input && operation.outcome.is_some())
        .expect("the key is read again");
    late.outcome.as_mut().expect("it is known").output = early.outcome.expect("it is known").output;
}
