//! The same log on different machines: identical outcomes, fuel and digests.
#![allow(missing_docs)]

mod common;

use common::{Disk, Log, Rig, Seen, call_once, hostile, integer};
use hostd_machine::Position;
use hostd_protocol::entry::CheckpointDigest;
use hostd_protocol::{Command, Entry, Limits, Once, Outcome, RejectionCode, Reply};

/// What the state counted, out of a reply of `count`.
fn counted(outcome: &Outcome) -> i64 {
    match outcome {
        Ok(Reply::Array(values)) => integer(&Ok(values[1].clone())),
        other => panic!("{other:?}"),
    }
}

/// A log with everything that could tell replicas apart, in three parts with a checkpoint
/// between them.
fn eventful_log() -> Log {
    // Small limits: what runs until it is stopped is stopped often here.
    let limits = Limits {
        fuel_per_command: 2_000_000,
        memory_bytes_max: 4 << 20,
        timers_per_wake: 20,
        ..Limits::default()
    };
    let mut log = Log::with_limits(vec![hostile()], limits);
    log.batch(
        2_000_000,
        vec![Command::OpenSession {
            principal: "test".into(),
        }],
    );
    for part in 0..3u64 {
        let time = 10_000_000 * (part + 1);
        for round in 0..5u64 {
            let lines = [
                "count",
                "draw",
                "publish 1 10",
                "reject",
                "nan",
                "host-calls 50",
                "count",
                "panic",
                "count",
                "timer again 0",
                "allocate-forever",
                "draw",
                "recurse-forever",
                "put key value",
                "fill 20",
                "timer fork-2 0",
                "walk VALUES",
                "delete key",
                "walk",
                "timer past 0",
                "timer draw-1 0",
                "hash-order",
                "address",
                "empty",
                "spin-forever",
            ];
            log.calls(time + round * 1_000, &lines);
            let sequence = part * 5 + round + 1;
            let retried = call_once("draw", 1, sequence);
            log.batch(
                time + round * 1_000 + 500,
                vec![retried.clone(), Command::Wake, retried],
            );
        }
        log.checkpoint(time + 9_000);
    }
    log.calls(90_000_000, &["count", "draw", "host-calls 10", "address"]);
    log.checkpoint(99_000_000);
    log
}

/// A log that opens, uses and drops more sessions and keys than are kept.
fn forgetful_log() -> Log {
    let limits = Limits {
        sessions_max: 4,
        session_window: 5,
        session_idle_ns_max: 20_000,
        session_reply_bytes_max: 2_000,
        key_age_ns_max: 5_000,
        once_keys_max: 8,
        ..Limits::default()
    };
    let mut log = Log::with_limits(vec![hostile()], limits);
    let mut random = 1u64;
    let mut next = |below: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 33) % below
    };
    let mut opened = 0u64;
    for round in 0..60 {
        let mut commands = Vec::new();
        for _ in 0..8 {
            let line = ["count", "draw", "reject", "panic"][next(4) as usize];
            let principal = ["ann", "bob"][next(2) as usize];
            let session = opened.saturating_sub(next(5));
            let once = match next(6) {
                0 => {
                    opened += 1;
                    commands.push(Command::OpenSession {
                        principal: principal.into(),
                    });
                    continue;
                }
                1 => {
                    commands.push(Command::CloseSession {
                        principal: principal.into(),
                        session,
                    });
                    continue;
                }
                2 => Once::Key(next(12).to_string()),
                _ => {
                    let sequence = next(8) + 1;
                    Once::Session {
                        session,
                        sequence,
                        acknowledged: next(sequence),
                    }
                }
            };
            commands.push(keyed(line, principal, once));
        }
        log.batch(2_000_000 + round * 1_000, commands);
        if round % 7 == 6 {
            log.checkpoint(2_000_500 + round * 1_000);
        }
    }
    log.checkpoint(9_000_000);
    log
}

fn keyed(line: &str, principal: &str, once: Once) -> Command {
    Command::Call {
        principal: principal.into(),
        plugin: None,
        command: line.into(),
        arguments: vec![],
        once: Some(once),
    }
}

/// The log must meet every way of forgetting.
#[test]
fn the_forgetful_log_forgets() {
    let (seen, _) = full_run(&forgetful_log());
    let has = |code: RejectionCode| {
        seen.iter()
            .flat_map(|(outcomes, _)| outcomes)
            .any(|outcome| matches!(outcome, Err(rejection) if rejection.code == code))
    };
    assert!(has(RejectionCode::SessionExpired));
    assert!(has(RejectionCode::SessionFull));
    assert!(has(RejectionCode::ReplyForgotten));
}

fn full_run(log: &Log) -> (Vec<Seen>, CheckpointDigest) {
    let mut rig = Rig::new();
    let seen = rig.follow(log);
    let digest = rig.digest();
    (seen, digest)
}

fn checkpoints(log: &Log) -> Vec<usize> {
    (0..log.0.len())
        .filter(|at| matches!(log.0[*at], Entry::Checkpoint { .. }))
        .collect()
}

#[test]
fn three_machines_agree() {
    let log = eventful_log();
    let first = full_run(&log);
    assert_eq!(first.1.index as usize, log.0.len());
    for _ in 0..2 {
        assert_eq!(full_run(&log), first);
    }
}

#[test]
fn digests_tell_states_apart() {
    let mut log = eventful_log();
    let digest = full_run(&log).1;
    let last = log.0.pop().unwrap();
    log.calls(91_000_000, &["put key other"]);
    log.0.push(last);
    assert_ne!(full_run(&log).1.digest, digest.digest);
}

/// Wherever a machine dies, it comes back at its last durable checkpoint, replays, and agrees.
#[test]
fn a_machine_restarted_anywhere_agrees() {
    restarted_anywhere(&eventful_log());
}

#[test]
fn a_machine_restarted_anywhere_forgets_the_same() {
    restarted_anywhere(&forgetful_log());
}

fn restarted_anywhere(log: &Log) {
    let (expected, digest) = full_run(log);
    for stop in 1..log.0.len() {
        let mut rig = Rig::new();
        for entry in &log.0[..stop] {
            rig.apply(entry);
        }
        let durable = rig.digest().index as usize;
        let mut rig = rig.restart();
        assert_eq!(
            rig.next_index() as usize - 1,
            durable,
            "stopped after entry {stop}"
        );
        let seen = rig.follow(log);
        assert_eq!(seen, expected[durable..], "stopped after entry {stop}");
        assert_eq!(rig.digest(), digest, "stopped after entry {stop}");
    }
}

/// A crash between freezing and flushing loses the checkpoint, not the state before it.
#[test]
fn a_machine_that_dies_before_its_flush_agrees() {
    let log = eventful_log();
    let (expected, digest) = full_run(&log);
    let second = checkpoints(&log)[1];
    let mut rig = Rig::new();
    for entry in &log.0[..second] {
        rig.apply(entry);
    }
    let durable = rig.digest().index as usize;
    let (_, job) = rig.apply_holding_flush(&log.0[second]);
    rig.apply(&log.0[second + 1]);
    drop(job);
    let mut rig = rig.restart();
    assert_eq!(rig.follow(&log), expected[durable..]);
    assert_eq!(rig.digest(), digest);
}

/// A slow flush changes nothing but when its checkpoint is durable.
#[test]
fn a_machine_that_flushes_late_agrees() {
    let log = eventful_log();
    let (expected, digest) = full_run(&log);
    let mut rig = Rig::new();
    let mut pending = None;
    let mut seen = Vec::new();
    for entry in &log.0 {
        if matches!(entry, Entry::Checkpoint { .. })
            && let Some(job) = pending.take()
        {
            let job: hostd_machine::FlushJob = job;
            rig.machine.flushed(job.run().unwrap());
        }
        let (applied, job) = rig.apply_holding_flush(entry);
        pending = job.or(pending);
        seen.push((applied.outcomes, applied.fuel));
    }
    rig.machine.flushed(pending.unwrap().run().unwrap());
    assert_eq!(seen, expected);
    assert_eq!(rig.digest(), digest);
}

#[test]
fn a_machine_made_from_a_snapshot_agrees() {
    made_from_a_snapshot(&eventful_log());
}

#[test]
fn a_machine_made_from_a_snapshot_forgets_the_same() {
    made_from_a_snapshot(&forgetful_log());
}

fn made_from_a_snapshot(log: &Log) {
    let (expected, digest) = full_run(log);
    for checkpoint in checkpoints(log) {
        let mut source = Rig::new();
        for entry in &log.0[..=checkpoint] {
            source.apply(entry);
        }
        // What the source applied since is not in the snapshot.
        if let Some(entry) = log.0.get(checkpoint + 1) {
            source.apply(entry);
        }
        let mut copy = source.clone_by_snapshot();
        assert_eq!(copy.digest(), source.digest());
        let seen = copy.follow(log);
        assert_eq!(seen, expected[checkpoint + 1..]);
        assert_eq!(copy.digest(), digest);
        let mut copy = copy.restart();
        assert_eq!(copy.digest(), digest);
        copy.call(100_000_000, "count").unwrap();
    }
}

/// A node that fell behind has instances, timers and sessions of its own past.
#[test]
fn a_machine_that_ran_before_starts_afresh_from_a_snapshot() {
    let log = eventful_log();
    let (_, digest) = full_run(&log);
    let mut source = Rig::new();
    source.follow(&log);
    let mut behind = Rig::new();
    for entry in &log.0[..8] {
        behind.apply(entry);
    }
    for time in 0..10 {
        behind.call(50_000_000 + time, "count").unwrap();
    }
    let mut fresh = source.clone_by_snapshot();
    behind.install(&source);
    assert_eq!(behind.digest(), digest);
    for line in ["count", "address", "draw"] {
        assert_eq!(
            behind.call(100_000_000, line),
            fresh.call(100_000_000, line)
        );
    }
}

#[test]
fn a_snapshot_that_is_not_whole_changes_nothing() {
    let mut source = Rig::new();
    source.follow(&eventful_log());
    let chunks: Vec<Vec<u8>> = source
        .machine
        .snapshot()
        .unwrap()
        .unwrap()
        .map(|chunk| chunk.unwrap())
        .collect();
    let position = source.machine.durable().position.unwrap();
    let mut target = Rig::new();
    let mut log = Log::founded(vec![hostile()]);
    log.calls(5, &["put mine 1"]).checkpoint(6);
    target.follow(&log);
    let before = target.digest();
    let mut altered = chunks.clone();
    let middle = altered[1].len() / 2;
    altered[1][middle] ^= 1;
    let cases = [
        chunks[..chunks.len() - 1].to_vec(),
        chunks[1..].to_vec(),
        [&chunks[..1], &chunks[2..]].concat(),
        altered,
        Vec::new(),
        [&chunks[..], &chunks[chunks.len() - 1..]].concat(),
        [&chunks[..], &[Vec::new()]].concat(),
        [&[[&chunks[0][..], b"x"].concat()][..], &chunks[1..]].concat(),
    ];
    for (number, case) in cases.into_iter().enumerate() {
        assert!(
            target
                .machine
                .install(position, case.into_iter().map(Ok))
                .is_err(),
            "case {number}"
        );
        assert_eq!(target.digest(), before, "case {number}");
        assert_eq!(
            target.query("get mine"),
            Ok(Reply::Bytes(b"1".to_vec())),
            "case {number}"
        );
    }
    let elsewhere = Position {
        index: position.index + 1,
        ..position
    };
    let announced = target
        .machine
        .install(elsewhere, chunks.clone().into_iter().map(Ok));
    assert!(announced.is_err());
    assert_eq!(target.digest(), before);
    target
        .machine
        .install(position, chunks.into_iter().map(Ok))
        .unwrap();
    assert_eq!(target.digest(), source.digest());
}

#[test]
fn a_retry_gets_the_first_outcome_over_restart_and_snapshot() {
    let mut log = Log::founded(vec![hostile()]);
    log.batch(
        1_000,
        vec![Command::OpenSession {
            principal: "test".into(),
        }],
    );
    let mut rig = Rig::new();
    rig.follow(&log);
    let first = rig.command(2_000, call_once("count", 1, 1));
    let refused = rig.command(2_001, call_once("reject", 1, 2));
    assert_eq!(counted(&first), 1);
    rig.checkpoint(3_000);
    let retry = |rig: &mut Rig, time| {
        assert_eq!(rig.command(time, call_once("count", 1, 1)), first);
        assert_eq!(rig.command(time + 1, call_once("reject", 1, 2)), refused);
        assert_eq!(
            counted(&rig.call(time + 2, "count")),
            2,
            "the retries ran again"
        );
    };
    let mut copy = rig.clone_by_snapshot();
    retry(&mut copy, 4_000);
    let mut rig = rig.restart();
    retry(&mut rig, 4_000);
}

#[test]
fn sessions_expire_by_replicated_time_and_say_so() {
    let mut rig = Rig::new();
    let limits = Limits {
        session_idle_ns_max: 1_000,
        ..Limits::default()
    };
    let mut log = Log::with_limits(vec![hostile()], limits);
    log.batch(
        2_000_000,
        vec![Command::OpenSession {
            principal: "test".into(),
        }],
    );
    rig.follow(&log);
    rig.command(2_000_500, call_once("count", 1, 1)).unwrap();
    let expired = rig
        .command(2_002_000, call_once("count", 1, 1))
        .unwrap_err();
    assert_eq!(expired.code, RejectionCode::SessionExpired);
    assert_eq!(
        counted(&rig.call(2_003_000, "count")),
        2,
        "the expired retry ran again"
    );
}

#[test]
fn an_idempotency_key_works_once_for_each_principal() {
    let mut rig = Rig::new();
    rig.follow(&Log::founded(vec![hostile()]));
    let order = |principal: &str| keyed("count", principal, Once::Key("order-7".into()));
    let values: Vec<Outcome> = ["ann", "ann", "bob", "ann"]
        .iter()
        .enumerate()
        .map(|(time, principal)| rig.command(time as u64, order(principal)))
        .collect();
    assert_eq!(values.iter().map(counted).collect::<Vec<_>>(), [1, 1, 2, 1]);
}

#[test]
fn a_clock_that_is_set_forward_makes_nobody_forget_a_key() {
    let mut rig = Rig::new();
    rig.follow(&Log::founded(vec![hostile()]));
    let order = || keyed("count", "ann", Once::Key("order-7".into()));
    let hour = 3_600_000_000_000;
    let first = rig.command(1, order());
    assert_eq!(rig.command(hour, order()), first);
    rig.checkpoint(2 * hour);
    assert_eq!(rig.command(3 * hour, order()), first);
}

#[test]
fn a_leader_with_another_digest_is_noticed() {
    let mut rig = Rig::new();
    rig.follow(&Log::founded(vec![hostile()]));
    let own = rig.checkpoint(5);
    let with = |digest| Entry::Checkpoint {
        time: 6,
        previous: Some(digest),
    };
    assert!(!rig.apply(&with(own)).diverged);
    let own = rig.digest();
    let other = CheckpointDigest {
        digest: [1; 32],
        ..own
    };
    assert!(rig.apply(&with(other)).diverged);
}

/// Every byte of the file counts: flipped anywhere, the state opens as it was or not at all.
#[test]
fn a_damaged_file_is_refused_or_harmless() {
    let mut rig = Rig::new();
    rig.follow(&eventful_log());
    let digest = rig.digest();
    let disk = rig.disk.clone();
    drop(rig);
    let bytes = disk.bytes();
    let open = |bytes: Vec<u8>| {
        hostd_machine::Machine::open(common::engine(), Disk::of(bytes))
            .map(|machine| machine.durable().clone())
    };
    let (mut refused, mut tried) = (0, 0);
    for at in (0..bytes.len()).step_by(9_973) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x40;
        tried += 1;
        match open(damaged) {
            Ok(durable) => assert_eq!(
                durable.digest, digest.digest,
                "flipped byte {at} was served"
            ),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 0, "none of {tried} flipped bytes was noticed");
    let half = bytes[..bytes.len() / 2].to_vec();
    assert!(open(half).is_err());
}
