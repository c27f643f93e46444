//! Anomalies with names, and their harmless neighbours.

use crate::notation::{accept, reject};

#[test]
fn nothing_happened() {
    accept("");
    accept("1..2 get -> nil");
}

#[test]
fn a_read_during_a_write_sees_either_value() {
    accept("1..4 set a -> ok\n 2..3 get -> nil");
    accept("1..4 set a -> ok\n 2..3 get -> a");
}

#[test]
fn a_stale_read() {
    reject("1..2 set a -> ok\n 3..4 get -> nil");
    reject("1..2 set a -> ok\n 3..4 set b -> ok\n 5..6 get -> a");
}

/// The second read began after the first had seen the new value.
#[test]
fn a_read_behind_another_read() {
    reject("1..8 set a -> ok\n 2..3 get -> a\n 4..5 get -> nil");
    accept("1..8 set a -> ok\n 2..3 get -> nil\n 4..5 get -> a");
    accept("1..8 set a -> ok\n 2..5 get -> a\n 4..6 get -> nil");
}

/// Two readers see two writes in different orders.
#[test]
fn reads_that_disagree_on_the_order_of_writes() {
    let writes = "1..20 set a -> ok\n 2..19 set b -> ok\n";
    let agree = "3..4 get -> a\n 5..6 get -> b\n 7..8 get -> b";
    let disagree = "3..4 get -> a\n 5..6 get -> b\n 7..8 get -> a";
    accept(&format!("{writes}{agree}"));
    reject(&format!("{writes}{disagree}"));
}

#[test]
fn a_phantom_value() {
    reject("1..2 set a -> ok\n 3..4 get -> x");
}

#[test]
fn a_value_from_the_future() {
    reject("1..2 get -> a\n 3..4 set a -> ok");
}

#[test]
fn a_lost_update() {
    reject("1..3 incrby 1 -> 1\n 2..4 incrby 1 -> 1");
    accept("1..3 incrby 1 -> 2\n 2..4 incrby 1 -> 1");
    reject("1..2 set a -> ok\n 3..4 set b -> ok\n 5..6 get -> nil");
}

#[test]
fn an_increment_that_took_effect_twice() {
    reject("1..2 incrby 1 -> 1\n 3..4 get -> \"2\"");
    reject("1..2 incrby 5 -> 5\n 3..4 incrby 5 -> 15");
    reject("1..2 incrby 1 -> 1\n 3..? incrby 1\n 5..6 incrby 1 -> 4");
}

#[test]
fn an_append_that_took_effect_twice() {
    accept("1..2 append ab -> 2\n 3..4 append c -> 3\n 5..6 get -> abc");
    reject("1..2 append ab -> 2\n 3..4 append c -> 3\n 5..6 get -> abcc");
    reject("1..2 append ab -> 2\n 3..4 append c -> 4");
    accept("1..4 append ab -> 3\n 2..3 append c -> 1\n 5..6 get -> cab");
}

#[test]
fn only_one_compare_and_set_wins() {
    let set = "1..2 set a -> ok\n";
    reject(&format!("{set} 3..6 cas a b -> 1\n 4..5 cas a c -> 1"));
    accept(&format!("{set} 3..6 cas a b -> 1\n 4..5 cas a c -> 0"));
    accept(&format!("{set} 3..6 cas a b -> 1\n 4..5 cas b a -> 1"));
}

#[test]
fn a_compare_and_set_that_should_have_gone_the_other_way() {
    reject("1..2 set a -> ok\n 3..4 cas a b -> 0");
    reject("1..2 set a -> ok\n 3..4 cas b c -> 1");
    reject("1..2 cas a b -> 1");
    // It said no, and did it.
    reject("1..2 set a -> ok\n 3..4 cas x b -> 0\n 5..6 get -> b");
    // It said yes, and did not.
    reject("1..2 set a -> ok\n 3..4 cas a b -> 1\n 5..6 get -> a");
}

#[test]
fn two_holders_of_a_lock() {
    reject("1..4 setnx a -> 1\n 2..3 setnx b -> 1");
    accept("1..4 setnx a -> 1\n 2..3 setnx b -> 0");
    reject("1..2 setnx a -> 0");
    // The lock was given back in between.
    accept("1..6 setnx a -> 1\n 2..5 del -> 1\n 3..4 setnx b -> 1");
    reject("1..2 setnx a -> 1\n 3..4 del -> 1\n 5..6 del -> 1");
}

#[test]
fn a_deleted_value_that_comes_back() {
    reject("1..2 set a -> ok\n 3..4 del -> 1\n 5..6 get -> a");
    reject("1..2 set a -> ok\n 3..4 del -> 0");
}

#[test]
fn commands_that_fail_by_their_own_rules() {
    accept("1..2 set a -> ok\n 3..4 incrby 1 -> failed\n 5..6 get -> a");
    reject("1..2 incrby 1 -> failed");
    reject("1..2 set a -> ok\n 3..4 incrby 1 -> 1");
    let top = "1..2 set 9223372036854775807 -> ok\n";
    accept(&format!("{top} 3..4 incrby 1 -> failed"));
    accept("1..2 set 007 -> ok\n 3..4 incrby 1 -> failed");
}
