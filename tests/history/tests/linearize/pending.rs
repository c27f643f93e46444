//! Operations of unknown outcome: they may happen late or never, and only once.

use crate::notation::{accept, check, history, reject};

#[test]
fn an_unknown_write_may_never_happen() {
    accept("1..2 set a -> ok\n 3..? set b\n 5..6 get -> a");
}

#[test]
fn an_unknown_write_may_happen_late() {
    accept("1..? set a\n 2..3 get -> nil\n 4..5 set b -> ok\n 6..7 get -> b\n 8..9 get -> a");
}

#[test]
fn an_unknown_write_does_not_happen_before_it_was_sent() {
    reject("1..2 get -> a\n 3..? set a");
}

#[test]
fn an_unknown_write_that_was_seen_stays() {
    reject("1..2 set a -> ok\n 3..? set b\n 5..6 get -> b\n 7..8 get -> a");
    accept("1..2 set a -> ok\n 3..? set b\n 5..8 get -> b\n 6..9 get -> a");
}

#[test]
fn an_unknown_write_happens_once() {
    let late = "1..? set a\n 2..3 get -> a\n 4..5 set b -> ok\n 6..7 get -> b\n";
    reject(&format!("{late} 8..9 get -> a"));
    // A second one that asks the same may have happened as well.
    accept(&format!("{late} 8..9 get -> a\n 3..? set a"));
}

#[test]
fn unknown_increments_are_counted() {
    let unknown = "1..? incrby 1\n 2..? incrby 1\n 3..? incrby 5\n";
    for sum in [1, 2, 3, 6, 7, 8] {
        accept(&format!("{unknown} 5..6 incrby 1 -> {sum}"));
    }
    for sum in [0, 4, 5, 9, 13] {
        reject(&format!("{unknown} 5..6 incrby 1 -> {sum}"));
    }
}

#[test]
fn unknown_operations_act_on_each_other() {
    let unknown = "1..? cas c d\n 2..? cas b c\n 3..? cas a b\n";
    accept(&format!("{unknown} 4..5 set a -> ok\n 6..7 get -> d"));
    accept(&format!(
        "{unknown} 4..5 set a -> ok\n 6..7 get -> b\n 8..9 get -> d"
    ));
    reject(&format!(
        "{unknown} 4..5 set a -> ok\n 6..7 get -> d\n 8..9 get -> c"
    ));
    // One is only sent once it is too late.
    reject("1..? cas b c\n 4..5 set a -> ok\n 6..7 get -> c\n 8..? cas a b");
}

#[test]
fn an_unknown_write_acts_through_an_unknown_increment() {
    accept("1..? incrby 1\n 2..? set 9\n 4..5 get -> \"10\"");
    accept("1..? incrby 1\n 2..? set 9\n 4..5 get -> \"9\"\n 6..7 get -> \"10\"");
    reject(
        "1..? incrby 1\n 2..? set 9\n 4..5 get -> \"10\"\n 6..7 get -> \"9\"\n 8..9 get -> \"10\"",
    );
}

#[test]
fn an_unknown_delete_frees_a_lock() {
    accept("1..2 setnx a -> 1\n 3..? del\n 4..5 setnx b -> 1");
    reject("1..2 setnx a -> 1\n 3..? del\n 4..5 setnx b -> 1\n 6..7 setnx c -> 1");
}

#[test]
fn unknown_appends_show_in_the_value() {
    let unknown = "1..? append a\n 2..? append b\n 3..? append c\n";
    accept(&format!("{unknown} 4..5 get -> ca\n 6..7 get -> cab"));
    accept(&format!("{unknown} 4..5 append x -> 3\n 6..7 get -> bcx"));
    reject(&format!("{unknown} 4..5 get -> ca\n 6..7 get -> cba"));
    reject(&format!("{unknown} 4..5 append x -> 5"));
}

#[test]
fn unknown_reads_say_nothing() {
    accept("1..? get\n 2..3 set a -> ok\n 4..? get\n 5..6 get -> a");
}

#[test]
fn a_history_of_unknown_operations_alone_is_fine() {
    accept("1..? set a\n 2..? cas a b\n 3..? incrby 1");
}

#[test]
#[should_panic(expected = "returns before it was invoked")]
fn an_operation_cannot_return_before_it_was_invoked() {
    let _ = check(&history("2..1 get -> nil"));
}
