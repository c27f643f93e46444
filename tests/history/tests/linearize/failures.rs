//! What a failed check says.

use hostd_history::linearize::{self, Failure};
use hostd_history::register::{Action, Register};

use crate::notation::{check, history};

#[test]
fn a_violation_shows_the_longest_order_and_what_does_not_fit() {
    let history = history(
        "1..2 set a -> ok
         3..9 set b -> ok
         4..5 get -> b
         6..7 get -> a
         8..? set c
         10..11 get -> b",
    );
    let failure = check(&history).unwrap_err();
    assert_eq!(
        failure.to_string(),
        r#"key "k" is not linearizable: no order of its 6 operations gets past the return at 7
the order that gets furthest, the last 3 of 3:
  [    1..    2] client 0 #0 set k a -> ok
  [    3..    9] client 1 #1 set k b -> ok
  [    4..    5] client 2 #2 get k -> "b"
leaves "b", and none of these fits behind it:
  [    6..    7] client 3 #3 get k -> "a""#
    );
    let Failure::Violation(violation) = failure else {
        panic!("{failure}");
    };
    assert_eq!(violation.furthest.barrier, 7);
    assert_eq!(violation.furthest.stuck, [history[3].clone()]);
}

#[test]
fn unknown_operations_that_the_order_uses_are_shown() {
    let history = history("1..? set a\n 2..3 get -> a\n 4..5 get -> x");
    let failure = check(&history).unwrap_err().to_string();
    assert!(
        failure.contains("[    1..    ?] client 0 #0 set k a -> unknown"),
        "{failure}"
    );
}

#[test]
fn a_search_that_did_not_end_says_how_far_it_got() {
    let history = history("1..4 set a -> ok\n 2..3 set b -> ok\n 5..6 get -> b\n 7..8 get -> x");
    let failure = linearize::check(&Register, &history, 3).unwrap_err();
    let Failure::Undecided(undecided) = &failure else {
        panic!("{failure}");
    };
    assert_eq!((undecided.operations, undecided.keys), (4, 1));
    assert!(
        failure
            .to_string()
            .starts_with("key \"k\" is undecided after 3 steps"),
        "{failure}"
    );
}

#[test]
fn a_violation_on_one_key_counts_for_more_than_an_undecided_other() {
    let mut all = history("1..4 set a -> ok\n 2..3 set b -> ok\n 5..6 get -> b");
    let mut wrong = history("11..12 get -> x");
    for operation in &mut wrong {
        operation.input.key = b"z".to_vec();
    }
    all.extend(wrong);
    let failure = linearize::check(&Register, &all, 1).unwrap_err();
    assert!(matches!(failure, Failure::Violation(found) if found.key == "z"));
}

#[test]
fn keys_are_searched_alone() {
    let mut all = history("1..2 set a -> ok\n 3..4 get -> a");
    let mut other = history("5..6 get -> nil\n 7..8 append b -> 1");
    for operation in &mut other {
        operation.input.key = b"\xff".to_vec();
    }
    all.extend(other);
    check(&all).unwrap();
    all[1].input.action = Action::Delete;
    let failure = check(&all).unwrap_err();
    assert!(failure.to_string().starts_with("key \"k\""));
}
