//! What bounds a plugin, and that a bound is a rejection, alike on every replica.
#![allow(missing_docs)]

mod common;

use std::convert::Infallible;
use std::sync::Arc;

use common::{Disk, Log, Rig, call, code, hostile, hostile_named, rig_with};
use hostd_machine::{Engine, Fault, Input, Position};
use hostd_protocol::{Batch, Command, Entry, Limits, RejectionCode, Reply};
use wasm_encoder::reencode::{self, Reencode, ReencodeComponent};

fn install(component: Vec<u8>) -> Command {
    Command::Install {
        principal: "test".into(),
        component,
    }
}

fn fuel(rig: &mut Rig, time: u64, line: &str) -> u64 {
    let mut log = Log::default();
    log.calls(time, &[line]);
    let applied = rig.apply(&log.0[0]);
    assert!(applied.outcomes[0].is_ok(), "{line}: {applied:?}");
    applied.fuel[0]
}

/// The hostile plugin with a memory that says how far it may grow.
fn with_declared_maximum(pages_more: u64) -> Vec<u8> {
    struct Bounded(u64);

    impl Reencode for Bounded {
        type Error = Infallible;

        fn memory_type(
            &mut self,
            mut memory: wasmparser::MemoryType,
        ) -> Result<wasm_encoder::MemoryType, reencode::Error<Infallible>> {
            memory.maximum = Some(memory.initial + self.0);
            Ok(reencode::utils::memory_type(self, memory))
        }
    }

    impl ReencodeComponent for Bounded {}

    let mut component = wasm_encoder::Component::new();
    Bounded(pages_more)
        .parse_component(&mut component, wasmparser::Parser::new(0), &hostile())
        .expect("a component");
    component.finish()
}

#[test]
fn growing_past_a_maximum_that_the_plugin_declared_is_its_own_affair() {
    let mut rig = Rig::new();
    rig.follow(&Log::founded(vec![with_declared_maximum(20)]));
    rig.call(1, "hoard 1000000").unwrap();
    let outcome = rig.call(2, "hoard 1000000");
    assert_eq!(code(&outcome), &RejectionCode::Trapped);
    rig.call(3, "hoard 1000000").unwrap();
}

#[test]
fn limits_that_this_build_cannot_honour_are_a_fault() {
    let limits = [
        Limits {
            memory_bytes_max: 2 << 30,
            ..Limits::default()
        },
        Limits {
            plugins_max: 65,
            ..Limits::default()
        },
    ];
    for limits in limits {
        let mut rig = Rig::new();
        let entry = Log::with_limits(vec![], limits).0.remove(0);
        let position = Position { term: 1, index: 1 };
        let fault = rig.machine.apply(position, Input::Entry(entry));
        assert!(matches!(fault, Err(Fault::Engine(_))), "{fault:?}");
    }
}

#[test]
fn a_cluster_has_so_many_plugins() {
    let mut rig = rig_with(Limits {
        plugins_max: 2,
        ..Limits::default()
    });
    rig.command(1, install(hostile_named("hostila"))).unwrap();
    let refused = rig.command(2, install(hostile_named("hostilb")));
    assert_eq!(code(&refused), &RejectionCode::TooLarge);
    assert!(refused.unwrap_err().message.contains("2 plugins"));
    rig.command(3, install(hostile())).unwrap();
}

/// Machines that share an engine stand for a machine with many plugins and queries.
#[test]
fn the_pool_serves_log_commands_first_and_never_says_that_a_plugin_is_at_fault() {
    let engine = Arc::new(Engine::new().unwrap());
    let _compiled = engine.compile(&hostile()).unwrap();
    let rig = |components| {
        let mut rig = Rig::with_engine(Arc::clone(&engine), Disk::default());
        rig.follow(&Log::founded(components));
        rig
    };
    let mut rigs: Vec<Rig> = (0..65).map(|_| rig(vec![hostile()])).collect();
    for rig in &rigs[..63] {
        rig.query("get a").unwrap();
    }
    let two = rig(vec![hostile(), hostile_named("hostila")]);
    for line in ["hostile.get a", "hostila.get a", "hostile.get a"] {
        two.try_query(line)
            .expect("an idle instance of the other plugin makes room")
            .unwrap();
    }
    let refused = rigs[64].try_query("get a");
    assert!(matches!(refused, Err(Fault::Instances(_))), "{refused:?}");
    rigs[0].checkpoint(1);
    assert!(rigs[64].try_query("get a").is_err(), "still idle");
    drop(rigs.remove(0));
    rigs[63].query("get a").unwrap();

    // All queries that there can be do not keep a log command waiting.
    for rig in &mut rigs {
        rig.call(2, "spin 1").unwrap();
    }
    let mut full: Vec<Rig> = (0..196).map(|_| rig(vec![hostile()])).collect();
    for rig in &mut full {
        rig.call(2, "spin 1").unwrap();
    }
    let mut log = Log::founded(vec![hostile_named("hostilb")]);
    let mut last = Rig::with_engine(Arc::clone(&engine), Disk::default());
    let position = Position { term: 1, index: 1 };
    let fault = last.machine.apply(position, Input::Entry(log.0.remove(0)));
    assert!(matches!(fault, Err(Fault::Instances(_))), "{fault:?}");
}

#[test]
fn a_query_does_not_answer_from_what_was_cached_before_a_checkpoint() {
    let mut rig = rig_with(Limits::default());
    rig.call(1, "put a 1").unwrap();
    assert_eq!(rig.query("read-cached a"), Ok(Reply::Bytes(b"1".to_vec())));
    rig.call(2, "put a 2").unwrap();
    rig.checkpoint(3);
    assert_eq!(rig.query("read-cached a"), Ok(Reply::Bytes(b"2".to_vec())));
}

#[test]
fn a_plugins_own_words_are_kept_short() {
    let mut rig = rig_with(Limits::default());
    let rejection = rig.call(1, "large-rejection 100000").unwrap_err();
    assert_eq!(rejection.code, RejectionCode::Rejected("C".repeat(64)));
    assert_eq!(rejection.message, "m".repeat(1024));
}

#[test]
fn arguments_are_counted_with_what_each_takes() {
    let mut rig = rig_with(Limits {
        arguments_bytes_max: 1_000,
        ..Limits::default()
    });
    let echo = |count| Command::Call {
        principal: "test".into(),
        plugin: None,
        command: "echo".into(),
        arguments: vec![serde_bytes::ByteBuf::new(); count],
        once: None,
    };
    rig.command(1, echo(31)).unwrap();
    assert_eq!(code(&rig.command(2, echo(32))), &RejectionCode::TooLarge);
    let mut rig = rig_with(Limits::default());
    let many = rig.command(1, echo(65_537));
    assert_eq!(code(&many), &RejectionCode::TooLarge);
}

#[test]
fn each_row_of_a_range_costs_fuel_wherever_it_is() {
    let mut rig = rig_with(Limits::default());
    let nothing = fuel(&mut rig, 1, "walk");
    let again = fuel(&mut rig, 1, "walk");
    for row in 0..20u64 {
        let line = format!("put {row:04000} {}", "v".repeat(10_000));
        rig.call(2 + row, &line).unwrap();
    }
    let keys = 20 * (64 + 4_000);
    for (time, place) in [(100, "memory"), (200, "disk")] {
        let walked = fuel(&mut rig, time, "walk");
        assert!(walked > nothing + keys, "{place}: {walked}");
        assert!(walked < nothing + keys + 200_000, "{place}: {walked}");
        let with_values = fuel(&mut rig, time + 1, "walk VALUES");
        assert!(with_values > walked + 200_000, "{place}: {with_values}");
        rig.checkpoint(time + 2);
    }
    assert!(fuel(&mut rig, 300, "wipe") > keys);
    // Their marks stay until the next checkpoint.
    assert_eq!(fuel(&mut rig, 301, "walk"), again + 20 * 16);
    rig.checkpoint(302);
    assert_eq!(fuel(&mut rig, 303, "walk"), nothing);
}

#[test]
fn a_range_costs_the_same_before_and_after_its_flush() {
    let mut log = Log::founded(vec![hostile()]);
    log.calls(1, &["fill 100"]).checkpoint(2);
    log.calls(3, &["empty", "fill 50", "walk"]);
    let later = |time| {
        let mut log = Log::default();
        log.calls(time, &["walk", "walk VALUES", "empty", "walk", "wipe"]);
        log.0.remove(0)
    };
    let checkpoint = Entry::Checkpoint {
        time: 4,
        previous: None,
    };
    let mut flushed = Rig::new();
    flushed.follow(&log);
    flushed.apply(&checkpoint);
    let mut flushing = Rig::new();
    flushing.follow(&log);
    let (_, job) = flushing.apply_holding_flush(&checkpoint);
    assert_eq!(
        flushed.apply(&later(5)).fuel,
        flushing.apply(&later(5)).fuel
    );
    drop(job);
}

#[test]
fn a_range_that_is_too_long_ends_with_its_fuel() {
    let mut rig = rig_with(Limits {
        fuel_per_command: 2_000_000,
        ..Limits::default()
    });
    for time in 0..10 {
        for row in 0..100u64 {
            let key = time * 100 + row;
            rig.call(1 + key, &format!("put {key:04000} v")).unwrap();
        }
    }
    for line in ["wipe", "walk"] {
        assert_eq!(
            code(&rig.call(5_000, line)),
            &RejectionCode::FuelExhausted,
            "{line}"
        );
    }
    assert_eq!(
        rig.query("list LIMIT 1"),
        Ok(Reply::Array(vec![Reply::Bytes(vec![b'0'; 4_000])]))
    );
}

#[test]
fn the_overlay_is_bounded_until_the_next_checkpoint() {
    let mut rig = rig_with(Limits {
        overlay_bytes_max: 1 << 20,
        ..Limits::default()
    });
    let put = |key: u64| format!("put {key} {}", "v".repeat(300_000));
    let before = rig.machine.overlay_bytes();
    for time in 1..=10 {
        rig.call(time, &put(1)).unwrap();
    }
    let one = rig.machine.overlay_bytes() - before;
    assert!((300_000..310_000).contains(&one), "{one}");
    rig.call(11, &put(2)).unwrap();
    rig.call(12, &put(3)).unwrap();
    let refused = rig.call(13, &put(4));
    assert_eq!(code(&refused), &RejectionCode::NoSpace);
    assert_eq!(rig.query("get 4"), Ok(Reply::Nil));
    rig.call(14, "delete 3").unwrap();
    assert!(rig.machine.overlay_bytes() < before + 2 * one + 1_000);
    rig.call(15, &put(4)).unwrap();
    rig.checkpoint(16);
    assert_eq!(rig.machine.overlay_bytes(), 0);
    assert_eq!(rig.machine.views().latest().overlay_bytes(), 0);
    rig.call(17, &put(5)).unwrap();
}

#[test]
fn timers_wait_for_room_in_the_overlay_and_are_not_lost() {
    let max = 1 << 20;
    let mut rig = rig_with(Limits {
        overlay_bytes_max: max,
        ..Limits::default()
    });
    for timer in ["a", "b"] {
        rig.call(1_000_000, &format!("timer {timer} 0")).unwrap();
    }
    rig.checkpoint(2);
    let row = 64 + 5 + 1;
    let left = max - rig.machine.overlay_bytes() - row;
    rig.call(3, &format!("put x {}", "v".repeat(left as usize)))
        .unwrap();
    assert_eq!(rig.machine.overlay_bytes(), max);
    assert_eq!(code(&rig.call(4, "put y 1")), &RejectionCode::NoSpace);
    let wake = |rig: &mut Rig| rig.command(4_000_000, Command::Wake);
    assert_eq!(wake(&mut rig), Ok(Reply::Integer(1)));
    assert_eq!(wake(&mut rig), Ok(Reply::Integer(0)));
    assert_eq!(rig.query("woken"), Ok(Reply::Integer(1)));
    rig.checkpoint(5_000_000);
    assert_eq!(wake(&mut rig), Ok(Reply::Integer(1)));
    assert_eq!(rig.query("woken"), Ok(Reply::Integer(2)));
}

#[test]
fn events_of_a_command_are_bounded_together() {
    let mut rig = rig_with(Limits::default());
    for time in 0..3 {
        rig.call(2 * time, "publish 50 20000").unwrap();
        assert_eq!(
            code(&rig.call(2 * time + 1, "publish 60 20000")),
            &RejectionCode::TooLarge
        );
    }
}

#[test]
fn replies_of_a_batch_are_bounded_together() {
    let mut rig = rig_with(Limits::default());
    let mut commands = vec![call("large-reply 16000000"); 6];
    commands.push(call("count"));
    let entry = Entry::Batch(Batch {
        time: 1,
        seed: [0; 16],
        commands,
    });
    let taken: Vec<bool> = rig
        .apply(&entry)
        .outcomes
        .iter()
        .map(Result::is_ok)
        .collect();
    assert_eq!(taken, [true, true, true, true, false, false, true]);
}
