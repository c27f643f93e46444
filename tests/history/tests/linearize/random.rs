//! Random histories: right ones are accepted, and wrong ones are found wrong exactly when trying
//! every order says so. A failure prints its seed.

use hostd_history::linearize::Failure;
use hostd_history::register::Output;

use crate::brute;
use crate::generate::{Mix, Random, Shape, generate};
use crate::notation::{Registered, check};

const SMALL: Shape = Shape {
    operations: 6,
    clients: 3,
    keys: 1,
    gives_up_once_in: 4,
    unique_values: false,
    mix: Mix::All,
};

#[test]
fn what_happened_one_at_a_time_is_accepted() {
    for seed in 0..3_000 {
        let shape = Shape {
            operations: 60,
            clients: 2 + (seed % 6) as usize,
            keys: 1 + seed % 2,
            gives_up_once_in: 10 + seed % 20,
            unique_values: seed % 3 == 0,
            mix: [Mix::Plain, Mix::Counting, Mix::All][seed as usize % 3],
        };
        if let Err(failure) = check(&generate(seed, shape)) {
            panic!("seed {seed}: {failure}");
        }
    }
}

#[test]
fn forgetting_an_outcome_makes_nothing_wrong() {
    for seed in 0..1_000 {
        let shape = Shape {
            operations: 30,
            ..SMALL
        };
        let mut history = generate(seed, shape);
        let mut random = Random(seed);
        for operation in &mut history {
            if random.once_in(6) {
                operation.outcome = None;
            }
        }
        if let Err(failure) = check(&history) {
            panic!("seed {seed}: {failure}");
        }
    }
}

#[test]
fn tiny_histories_are_judged_as_trying_every_order_does() {
    let counts = compare(0..100_000, SMALL, 1);
    assert!(counts.right > 10_000 && counts.wrong > 10_000, "{counts:?}");
}

#[test]
fn small_histories_are_judged_as_trying_every_order_does() {
    let shapes = [
        (Mix::All, 3, false),
        (Mix::Counting, 2, false),
        (Mix::Counting, 4, true),
        (Mix::Plain, 2, false),
    ];
    for (mix, gives_up_once_in, unique_values) in shapes {
        let shape = Shape {
            operations: 11,
            clients: 4,
            keys: 1,
            gives_up_once_in,
            unique_values,
            mix,
        };
        let counts = compare(0..8_000, shape, 2);
        assert!(counts.right > 500 && counts.wrong > 500, "{counts:?}");
    }
}

#[derive(Debug)]
struct Counts {
    right: usize,
    wrong: usize,
}

/// Changes outputs of generated histories, and compares both judgements.
fn compare(seeds: std::ops::Range<u64>, shape: Shape, changes: usize) -> Counts {
    let mut counts = Counts { right: 0, wrong: 0 };
    for seed in seeds {
        let mut history = generate(seed, shape);
        for number in 0..changes {
            change_an_output(&mut history, &mut Random(seed ^ (number as u64) << 40));
        }
        let is_right = brute::is_linearizable(&history);
        match check(&history) {
            Ok(()) => assert!(is_right, "seed {seed} is wrong: {history:#?}"),
            Err(Failure::Violation(violation)) => {
                assert!(!is_right, "seed {seed} is right: {violation} {history:#?}");
            }
            Err(undecided) => panic!("seed {seed}: {undecided}"),
        }
        if is_right {
            counts.right += 1;
        } else {
            counts.wrong += 1;
        }
    }
    counts
}

/// Puts another output of the same sort, which some other history would have, in the place of one.
fn change_an_output(history: &mut [Registered], random: &mut Random) {
    let outcomes: Vec<_> = history
        .iter_mut()
        .filter_map(|operation| operation.outcome.as_mut())
        .collect();
    if outcomes.is_empty() {
        return;
    }
    let which = random.below(outcomes.len() as u64) as usize;
    let output = &mut outcomes.into_iter().nth(which).expect("it is below").output;
    *output = match output {
        Output::Done => Output::Done,
        Output::Nil => Output::Value(random.pick(&["a", "b", "1", "ab"]).into()),
        Output::Value(_) if random.once_in(3) => Output::Nil,
        Output::Value(_) => Output::Value(random.pick(&["a", "b", "1", "2", "v1", "v2"]).into()),
        Output::Integer(_) if random.once_in(6) => Output::Failed,
        Output::Integer(number @ (0 | 1)) if !random.once_in(3) => Output::Integer(1 - *number),
        Output::Integer(number) => Output::Integer(*number + random.pick(&[-1, 1, 2])),
        Output::Failed => Output::Integer(random.pick(&[1, 2])),
    };
}
