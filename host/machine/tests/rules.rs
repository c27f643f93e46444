//! The rules of determinism that one machine can show, one test each (docs/determinism.md).
#![allow(missing_docs)]

mod common;

use std::sync::Arc;

use common::{Disk, Log, Rig, call, call_once, code, hostile, integer, rig_with};
use hostd_machine::{Input, Machine, Position};
use hostd_protocol::{
    Batch, Command, EngineIdentity, Entry, Limits, Outcome, RejectionCode, Reply,
};

fn rig() -> Rig {
    rig_with(Limits::default())
}

#[test]
fn time_strictly_rises_even_when_the_leaders_clock_falls() {
    let mut rig = rig();
    let mut times = Vec::new();
    for clock in [5_000_000, 5_000_000, 4_000_000, 0, 6_000_000] {
        let drawn = rig.call(clock, "draw").unwrap();
        let Reply::Array(values) = drawn else {
            panic!("{drawn:?}")
        };
        let Reply::Integer(time) = values[0] else {
            panic!("{values:?}")
        };
        times.push(time);
    }
    assert_eq!(
        times,
        [5_000_000, 5_000_001, 5_000_002, 5_000_003, 6_000_000]
    );
}

#[test]
fn each_command_of_a_batch_has_a_time_and_numbers_of_its_own() {
    let mut log = Log::founded(vec![hostile()]);
    log.calls(5_000_000, &["draw", "draw"]);
    let mut rig = Rig::new();
    let seen = rig.follow(&log);
    let outcomes: Vec<_> = seen[1]
        .0
        .iter()
        .map(|outcome| outcome.clone().unwrap())
        .collect();
    let fields = |reply: &Reply| match reply {
        Reply::Array(values) => values.clone(),
        other => panic!("{other:?}"),
    };
    let (first, second) = (fields(&outcomes[0]), fields(&outcomes[1]));
    assert_eq!(first[0], Reply::Integer(5_000_000));
    assert_eq!(second[0], Reply::Integer(5_000_001));
    assert!(
        (1..3).all(|field| first[field] != second[field]),
        "{first:?} {second:?}"
    );
}

#[test]
fn a_rejected_command_leaves_no_trace() {
    let mut rig = rig();
    rig.call(1, "put kept 1").unwrap();
    let nothing_else = Ok(Reply::Array(vec![Reply::Bytes(b"kept".to_vec())]));
    for line in ["panic", "reject", "miss"] {
        let applied = rig.apply(&batch_of(line));
        assert!(applied.outcomes[0].is_err(), "{line}");
        assert!(applied.events.is_empty(), "{line}");
        assert_eq!(rig.query("list"), nothing_else, "{line}");
        assert_eq!(rig.machine.views().latest().next_timer(), None, "{line}");
    }
    let applied = rig.apply(&batch_of("publish 1 2"));
    assert_eq!(applied.outcomes, [Ok(Reply::Ok)]);
    let event = &applied.events[0];
    assert_eq!(
        (&*event.plugin, &*event.topic, &*event.payload),
        ("hostile", "hostile/0", &b"ee"[..])
    );
}

fn batch_of(line: &str) -> Entry {
    let mut log = Log::default();
    log.calls(9_000_000, &[line]);
    log.0.remove(0)
}

#[test]
fn a_plugins_own_reason_is_passed_on() {
    let rejection = rig().call(1, "reject").unwrap_err();
    assert_eq!(rejection.code, RejectionCode::Rejected("NOPE".into()));
    assert_eq!(rejection.message, "as asked");
}

#[test]
fn a_static_vanishes_at_a_checkpoint_and_at_a_trap_and_nowhere_else() {
    let mut rig = rig();
    let pair = |outcome: Outcome| match outcome {
        Ok(Reply::Array(values)) => (
            integer(&Ok(values[0].clone())),
            integer(&Ok(values[1].clone())),
        ),
        other => panic!("{other:?}"),
    };
    assert_eq!(pair(rig.call(1, "count")), (1, 1));
    assert_eq!(pair(rig.call(2, "count")), (2, 2));
    assert!(rig.call(3, "reject").is_err());
    assert_eq!(pair(rig.call(4, "count")), (3, 3));
    rig.checkpoint(5);
    assert_eq!(pair(rig.call(6, "count")), (1, 4));
    assert!(rig.call(7, "panic").is_err());
    assert_eq!(pair(rig.call(8, "count")), (1, 5));
}

#[test]
fn whatever_a_plugin_does_is_a_rejection_and_the_next_command_works() {
    let mut rig = rig_with(Limits {
        fuel_per_command: 200_000_000,
        ..Limits::default()
    });
    let cases = [
        ("spin-forever", RejectionCode::FuelExhausted),
        ("allocate-forever", RejectionCode::MemoryExceeded),
        ("recurse-forever", RejectionCode::Trapped),
        ("panic", RejectionCode::Trapped),
        ("unreachable", RejectionCode::Trapped),
        ("read-out-of-bounds", RejectionCode::Trapped),
        ("write-out-of-bounds", RejectionCode::Trapped),
        ("host-calls 1000000", RejectionCode::FuelExhausted),
        ("large-reply 17000000", RejectionCode::TooLarge),
        ("deep-reply 1000", RejectionCode::Trapped),
        ("malformed two", RejectionCode::Trapped),
        ("malformed huge-array", RejectionCode::Trapped),
        ("large-key 5000", RejectionCode::TooLarge),
        ("large-value 9000000", RejectionCode::TooLarge),
        ("large-timer 5000", RejectionCode::TooLarge),
        ("nothing", RejectionCode::UnknownCommand),
        ("other.spin", RejectionCode::UnknownCommand),
        ("spin", RejectionCode::WrongArity),
        ("spin many", RejectionCode::InvalidArgument),
    ];
    for (number, (line, expected)) in cases.iter().enumerate() {
        let outcome = rig.call(100 * number as u64, line);
        assert_eq!(code(&outcome), expected, "{line}: {outcome:?}");
        for key in [
            "replied",
            "malformed",
            "spun",
            "large",
            "panicked",
            "allocated",
        ] {
            let query = format!("get {key}");
            assert_eq!(rig.query(&query), Ok(Reply::Nil), "{line} left {key}");
        }
        assert_eq!(
            rig.call(100 * number as u64 + 50, "spin 100"),
            Ok(Reply::Integer((0..100).fold(0, |sum, step| sum ^ step)))
        );
    }
}

#[test]
fn rejections_carry_no_words_of_the_engine() {
    let mut rig = rig();
    for line in [
        "recurse-forever",
        "read-out-of-bounds",
        "panic",
        "allocate-forever",
    ] {
        let message = rig.call(1, line).unwrap_err().message;
        for word in ["0x", "wasm", "backtrace", "::", ".rs"] {
            assert!(!message.contains(word), "{line}: {message}");
        }
    }
}

#[test]
fn nans_are_canonical() {
    let canonical = [0x7ff8_0000_0000_0000, 0x7fc0_0000].map(Reply::Integer);
    let mut rig = rig();
    for bits in [rig.call(1, "nan"), rig.query("read-nan")] {
        let Ok(Reply::Array(bits)) = bits else {
            panic!("{bits:?}")
        };
        assert!(
            bits.len() > 10 && bits.iter().all(|nan| canonical.contains(nan)),
            "{bits:x?}"
        );
    }
}

#[test]
fn a_query_cannot_write_and_adds_nothing() {
    let rig = rig();
    let position = rig.machine.position();
    for line in [
        "read-put",
        "read-write-batch",
        "read-delete",
        "read-set-timer",
        "read-publish",
        "put a 1",
    ] {
        assert_eq!(code(&rig.query(line)), &RejectionCode::ReadOnly, "{line}");
    }
    assert_eq!(rig.query("get read"), Ok(Reply::Nil));
    assert_eq!(rig.machine.position(), position);
}

#[test]
fn a_query_is_bounded_too() {
    let rig = rig();
    assert_eq!(
        code(&rig.query("read-forever")),
        &RejectionCode::FuelExhausted
    );
    assert_eq!(
        code(&rig.query("read-recurse-forever")),
        &RejectionCode::Trapped
    );
    assert_eq!(code(&rig.query("read-panic")), &RejectionCode::Trapped);
}

#[test]
fn a_view_does_not_change_while_the_machine_goes_on() {
    let mut rig = rig();
    rig.call(1, "put a 1").unwrap();
    let view = rig.machine.views().latest();
    rig.call(2, "put a 2").unwrap();
    rig.checkpoint(3);
    rig.call(4, "put a 3").unwrap();
    let old = view
        .query(
            None,
            "get",
            &[b"a".to_vec().into()],
            hostd_machine::Budget::Full,
        )
        .unwrap();
    assert_eq!(old, Ok(Reply::Bytes(b"1".to_vec())));
    assert_eq!(rig.query("get a"), Ok(Reply::Bytes(b"3".to_vec())));
}

#[test]
fn scans_see_all_layers_in_order() {
    let mut rig = rig();
    rig.call(1, "fill 5").unwrap();
    for (time, line) in ["put ka 1", "put kb 1", "put kd 1"].iter().enumerate() {
        rig.call(2 + time as u64, line).unwrap();
    }
    rig.checkpoint(10);
    rig.call(11, "empty").unwrap();
    rig.call(12, "put kc 1").unwrap();
    let entry = Entry::Checkpoint {
        time: 13,
        previous: None,
    };
    let (_, job) = rig.apply_holding_flush(&entry);
    rig.call(14, "put kaa 1").unwrap();
    rig.call(15, "fill 1").unwrap();
    rig.call(16, "empty").unwrap();
    let keys = |keys: &[&str]| {
        Ok(Reply::Array(
            keys.iter()
                .map(|key| Reply::Bytes(key.as_bytes().to_vec()))
                .collect(),
        ))
    };
    let expected = ["ka", "kaa", "kb", "kc", "kd"];
    let reversed: Vec<_> = expected.iter().rev().copied().collect();
    assert_eq!(
        rig.query("list"),
        keys(&expected),
        "while a flush is under way"
    );
    assert_eq!(rig.query("list REVERSE"), keys(&reversed));
    assert_eq!(rig.query("list LIMIT 2"), keys(&expected[..2]));
    rig.machine.flushed(job.unwrap().run().unwrap());
    rig.machine.publish();
    assert_eq!(rig.query("list"), keys(&expected), "after it");
}

#[test]
fn timers_fire_bounded_at_a_time_and_a_failing_handler_loses_its_timer() {
    let mut rig = rig_with(Limits {
        timers_per_wake: 10,
        ..Limits::default()
    });
    rig.call(5_000_000, "storm 24").unwrap();
    rig.call(5_000_000, "timer reject 0").unwrap();
    let fired: Vec<i64> = (0..4)
        .map(|_| integer(&rig.command(6_000_000, Command::Wake)))
        .collect();
    assert_eq!(fired, [10, 10, 5, 0]);
    assert_eq!(rig.query("woken"), Ok(Reply::Integer(24)));
    assert_eq!(rig.machine.views().latest().next_timer(), None);
}

#[test]
fn a_timer_never_fires_early_and_a_moved_one_once() {
    let mut rig = rig();
    rig.call(2_000_000, "timer t 1").unwrap();
    rig.call(2_500_000, "timer t 4").unwrap();
    let due = rig.machine.views().latest().next_timer().expect("a timer");
    assert_eq!(due, 2_500_000 + 4_000_000);
    assert_eq!(integer(&rig.command(due - 1, Command::Wake)), 0);
    assert_eq!(integer(&rig.command(due, Command::Wake)), 1);
    assert_eq!(integer(&rig.command(due + 1_000_000, Command::Wake)), 0);
}

#[test]
fn only_the_first_founding_counts_and_another_engine_is_refused() {
    let mut rig = rig();
    let found = |cluster: &str, wasmtime: &str| Command::Found {
        cluster: cluster.into(),
        engine: hostd_protocol::EngineIdentity {
            wasmtime: wasmtime.into(),
            ..hostd_machine::Engine::identity()
        },
        limits: Limits::default(),
    };
    let own = hostd_machine::Engine::identity().wasmtime;
    rig.command(1, found("other", &own)).unwrap();
    assert_eq!(rig.machine.views().latest().cluster(), Some("test"));

    let mut fresh = Rig::new();
    let mut log = Log::default();
    log.batch(1, vec![found("new", "1.0.0")]);
    let position = Position { term: 1, index: 1 };
    let fault = fresh
        .machine
        .apply(position, Input::Entry(log.0.remove(0)))
        .unwrap_err()
        .to_string();
    assert!(fault.contains("1.0.0") && fault.contains(&own), "{fault}");
}

/// A cluster that an older hostd founded goes over to newer rules with an entry, and not before.
#[test]
fn newer_rules_are_followed_from_an_entry_on_and_never_again_the_old_ones() {
    let engine = common::engine();
    // Between these two it changed what commands cost.
    let [before, newest, ..] = engine.honours() else {
        panic!("there is nothing to upgrade from")
    };
    let older = Arc::new(engine.up_to_rules(before.rules));
    let change = |engine: &EngineIdentity| Command::Engine {
        engine: engine.clone(),
    };
    let argument = "x".repeat(1_000);
    let line = format!("put key {argument}");
    let mut log = Log::founded(vec![hostile()]);
    let Entry::Batch(batch) = &mut log.0[0] else {
        unreachable!()
    };
    let Command::Found {
        engine: founder, ..
    } = &mut batch.commands[0]
    else {
        unreachable!()
    };
    *founder = before.clone();
    log.calls(2_000_000, &[&line, &line]);
    log.checkpoint(3_000_000);
    let mut old = Rig::with_engine(Arc::clone(&older), Disk::default());
    let disk = Disk::default();
    let mut new = Rig::on(disk.clone());
    assert_eq!(old.follow(&log), new.follow(&log));
    assert_eq!(
        old.machine.durable().digest,
        new.machine.durable().digest,
        "a newer hostd follows the old rules as long as they are in force"
    );

    // Of the third call of an instance that begins anew, as it does at a checkpoint and at a change.
    let cost = |rig: &mut Rig, time: u64| {
        let calls = (0..3).map(|later| rig.apply(&batch_of_at(time + later, call(&line))).fuel[0]);
        calls.last().expect("three calls")
    };
    let cost_before = cost(&mut new, 4_000_000);
    new.command(5_000_000, change(newest)).unwrap();
    assert_eq!(new.machine.rules(), newest.rules);
    let cost_now = cost(&mut new, 7_000_000);
    assert_eq!(
        cost_now,
        cost_before + "key".len() as u64 + 1_000,
        "what a guest is handed costs fuel"
    );
    // An older leader may have asked for less, or another one for the same.
    new.command(8_000_000, change(before)).unwrap();
    new.command(8_000_001, change(newest)).unwrap();
    assert_eq!(new.machine.rules(), newest.rules);

    // Whoever cannot follow refuses to, when it applies the entry and when it opens what came of it.
    cost(&mut old, 4_000_000);
    let position = Position {
        term: 1,
        index: old.next_index(),
    };
    let entry = batch_of_at(5_000_000, change(newest));
    let fault = old
        .machine
        .apply(position, Input::Entry(entry))
        .unwrap_err();
    assert!(
        fault
            .to_string()
            .contains(&format!("rules {}", newest.rules)),
        "{fault}"
    );
    let mut checkpoint = Log::default();
    checkpoint.checkpoint(9_000_000);
    new.apply(&checkpoint.0[0]);
    drop(new);
    let again = Machine::open(older, disk.clone()).unwrap_err().to_string();
    assert!(
        again.contains(&format!("rules {}", newest.rules)),
        "{again}"
    );
    assert_eq!(Rig::on(disk).machine.rules(), newest.rules);
}

fn batch_of_at(time: u64, command: Command) -> Entry {
    let mut log = Log::default();
    log.batch(time, vec![command]);
    log.0.remove(0)
}

#[test]
fn installing_again_is_nothing_and_another_version_is_refused() {
    let mut rig = rig();
    let install = |component| Command::Install {
        principal: "test".into(),
        component,
    };
    rig.command(1, install(hostile())).unwrap();
    let mut other = hostile();
    // A custom section makes another digest of the same code.
    other.extend_from_slice(&[0, 2, 1, b'x']);
    let refused = rig.command(2, install(other)).unwrap_err();
    assert!(refused.message.contains("upgrade"), "{refused}");
    let garbage = rig.command(3, install(b"garbage".to_vec())).unwrap_err();
    assert_eq!(garbage.code, RejectionCode::InvalidArgument);
    assert_eq!(rig.machine.views().latest().descriptions().len(), 1);
}

#[test]
fn an_entry_out_of_order_is_a_fault() {
    for mut rig in [rig(), Rig::new()] {
        let position = Position { term: 1, index: 99 };
        assert!(rig.machine.apply(position, Input::Blank).is_err());
    }
}

#[test]
fn a_batchs_seed_decides_what_its_commands_draw() {
    let drawn = |seed: u8| {
        let entry = Entry::Batch(Batch {
            time: 5_000_000,
            seed: [seed; 16],
            commands: vec![call("draw")],
        });
        rig().apply(&entry).outcomes.remove(0).unwrap()
    };
    assert_eq!(drawn(1), drawn(1));
    assert_ne!(drawn(1), drawn(2));
}

#[test]
fn each_timer_of_a_wake_draws_numbers_of_its_own() {
    let mut rig = rig();
    for timer in 0..3 {
        rig.call(1_000_000, &format!("timer draw-{timer} 0"))
            .unwrap();
    }
    assert_eq!(integer(&rig.command(2_000_000, Command::Wake)), 3);
    let Ok(Reply::Array(drawn)) = rig.query("drawn") else {
        panic!()
    };
    assert_eq!(drawn.len(), 3);
    assert!(drawn[0] != drawn[1] && drawn[1] != drawn[2] && drawn[0] != drawn[2]);
}

#[test]
fn a_querys_time_is_that_of_its_view() {
    let mut rig = rig();
    rig.call(5_000_000, "put a 1").unwrap();
    let time = |rig: &Rig| match rig.query("read-draw") {
        Ok(Reply::Array(values)) => values[0].clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(time(&rig), Reply::Integer(5_000_000));
    assert_eq!(time(&rig), Reply::Integer(5_000_000));
    rig.call(7_000_000, "put a 1").unwrap();
    assert_eq!(time(&rig), Reply::Integer(7_000_000));
}

#[test]
fn a_trapped_command_is_not_run_again_for_a_retry() {
    let mut rig = rig();
    let open = Command::OpenSession {
        principal: "test".into(),
    };
    rig.command(1, open).unwrap();
    let mut retry = |time| {
        let entry = Entry::Batch(Batch {
            time,
            seed: [9; 16],
            commands: vec![call_once("panic", 1, 1)],
        });
        let mut applied = rig.apply(&entry);
        (applied.outcomes.remove(0), applied.fuel[0])
    };
    let (first, used) = retry(2);
    assert_eq!(code(&first), &RejectionCode::Trapped);
    assert!(used > 0);
    assert_eq!(retry(3), (first, 0));
}

#[test]
fn a_timer_that_sets_itself_for_the_past_starves_no_other() {
    let mut rig = rig_with(Limits {
        timers_per_wake: 10,
        ..Limits::default()
    });
    rig.call(1_000_000, "timer past 0").unwrap();
    rig.call(1_000_000, "timer z 1").unwrap();
    let fired: Vec<i64> = (0..3)
        .map(|wake| integer(&rig.command(3_000_000 + wake, Command::Wake)))
        .collect();
    assert_eq!(fired, [2, 1, 1]);
    assert_eq!(rig.query("due z"), Ok(Reply::Nil));
}

#[test]
fn a_call_names_its_plugin_or_not() {
    let mut rig = rig();
    assert!(rig.call(1, "hostile.address").is_ok());
    assert!(rig.call(2, "ADDRESS").is_ok());
    assert!(rig.call(2, "Hostile.Address").is_ok());
    let Command::Call {
        principal,
        command,
        arguments,
        ..
    } = call("address")
    else {
        unreachable!()
    };
    let named = Command::Call {
        principal,
        plugin: Some("HOSTILE".into()),
        command,
        arguments,
        once: None,
    };
    assert!(rig.command(3, named).is_ok());
}
