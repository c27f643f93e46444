//! What a test sees of a plugin, shown with one that misbehaves.

use std::time::Duration;

use hostd_testing::{Host, RejectionCode, Reply, component};

const SECOND: Duration = Duration::from_secs(1);

fn hostile() -> Host {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/hostile");
    Host::new(&component(directory))
}

fn integers(numbers: &[i64]) -> Reply {
    Reply::Array(numbers.iter().copied().map(Reply::Integer).collect())
}

#[test]
fn a_static_vanishes_after_every_command_and_the_state_stays() {
    let mut host = hostile();
    for calls in 1..=3 {
        assert_eq!(host.call("count", &[]), Ok(integers(&[1, calls])));
    }
}

#[test]
fn a_restart_keeps_the_state() {
    let mut host = hostile();
    host.call("put", &["key", "value"]).unwrap();
    let digest = host.digest();
    host.restart();
    assert_eq!(host.digest(), digest);
    assert_eq!(
        host.call("get", &["key"]),
        Ok(Reply::Bytes(b"value".to_vec()))
    );
}

#[test]
fn the_same_test_draws_the_same_and_another_seed_something_else() {
    let draw = |seed| {
        let mut host = hostile();
        host.reseed(seed);
        host.call("draw", &[]).unwrap()
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
}

#[test]
fn time_stands_still_until_it_is_moved() {
    let mut host = hostile();
    let start = host.now();
    host.call("put", &["a", "1"]).unwrap();
    host.call("put", &["b", "2"]).unwrap();
    assert!(host.now() - start < 10);
    host.advance(SECOND);
    assert!((1_000_000_000..1_000_000_010).contains(&(host.now() - start)));
}

#[test]
fn timers_fire_when_they_are_due_and_not_before() {
    let mut host = hostile();
    host.call("timer", &["early", "500"]).unwrap();
    host.call("timer", &["late", "1500"]).unwrap();
    host.call("timer", &["never", "500"]).unwrap();
    host.call("cancel", &["never"]).unwrap();
    assert_eq!(host.advance(Duration::from_millis(499)), 0);
    assert_eq!(host.advance(Duration::from_millis(501)), 1);
    assert_eq!(host.call("woken", &[]), Ok(Reply::Integer(1)));
    assert_eq!(host.advance(SECOND), 1);
    assert_eq!(host.next_timer(), None);
}

#[test]
fn a_handler_that_fails_loses_its_writes_and_its_timer() {
    for id in ["panic", "reject"] {
        let mut host = hostile();
        host.call("timer", &[id, "1"]).unwrap();
        host.call("timer", &["good", "2"]).unwrap();
        assert_eq!(host.advance(SECOND), 2, "{id}");
        assert_eq!(host.call("woken", &[]), Ok(Reply::Integer(1)), "{id}");
    }
}

#[test]
#[should_panic(expected = "each must be set to a later time")]
fn timers_that_never_stop_are_reported() {
    let mut host = hostile();
    host.call("timer", &["again", "1"]).unwrap();
    host.advance(SECOND);
}

#[test]
fn events_are_those_of_commands_that_took_effect() {
    let mut host = hostile();
    host.call("publish", &["2", "3"]).unwrap();
    host.call("reject", &[]).unwrap_err();
    host.call("panic", &[]).unwrap_err();
    let topics: Vec<_> = host.events().into_iter().map(|event| event.topic).collect();
    assert_eq!(topics, ["hostile/0", "hostile/1"]);
    assert!(host.events().is_empty());
}

#[test]
fn a_command_that_fails_writes_nothing() {
    let mut host = hostile();
    let before = host.call("list", &[]);
    for command in [
        "panic",
        "reject",
        "miss",
        "recurse-forever",
        "write-out-of-bounds",
    ] {
        assert!(host.call(command, &[]).is_err(), "{command}");
        assert_eq!(host.call("list", &[]), before, "{command}");
        assert_eq!(host.next_timer(), None, "{command}");
    }
}

#[test]
fn a_query_cannot_write_even_around_the_sdk() {
    let mut host = hostile();
    for command in [
        "read-put",
        "read-write-batch",
        "read-delete",
        "read-set-timer",
        "read-publish",
    ] {
        let rejection = host.call(command, &[]).unwrap_err();
        assert_eq!(rejection.code, RejectionCode::ReadOnly, "{command}");
    }
    assert_eq!(host.call("list", &[]), Ok(Reply::Array(vec![])));
}

#[test]
fn fuel_tells_what_a_command_costs() {
    let mut host = hostile();
    host.call("spin", &["1000"]).unwrap();
    let little = host.fuel();
    host.call("spin", &["100000"]).unwrap();
    assert!(host.fuel() > 50 * little, "{little} {}", host.fuel());
}

#[test]
#[should_panic(expected = "this is no plugin")]
fn what_is_no_plugin_is_refused() {
    Host::new(b"\0asm");
}
