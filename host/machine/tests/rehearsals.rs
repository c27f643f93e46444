//! A copy of the machine that is fed with the same entries does the same, shows what each call did,
//! and leaves the machine and its disk as they were.
#![allow(missing_docs)]

mod common;

use std::sync::OnceLock;

use common::{Disk, Log, component, engine};
use hostd_machine::{Budget, CallRecord, Called, Input, Machine, Position, Rehearsal, Subject};
use hostd_protocol::{Outcome, Reply};

fn tally() -> Vec<u8> {
    static TALLY: OnceLock<Vec<u8>> = OnceLock::new();
    TALLY
        .get_or_init(|| component("tests/fixtures/tally"))
        .clone()
}

/// A machine that has applied a log, and the outcomes.
fn machine(disk: &Disk, log: &Log) -> (Machine, Vec<Outcome>) {
    let mut machine = Machine::open(engine(), disk.clone()).unwrap();
    let mut outcomes = Vec::new();
    for (index, entry) in log.0.iter().enumerate() {
        let applied = machine
            .apply(position(index), Input::Entry(entry.clone()))
            .unwrap();
        outcomes.extend(applied.outcomes);
        if let Some(job) = applied.flush {
            machine.flushed(job.run().unwrap());
        }
    }
    machine.publish();
    (machine, outcomes)
}

fn position(index: usize) -> Position {
    Position {
        term: 1,
        index: index as u64,
    }
}

/// Feeds what the rehearsal lacks.
fn play(rehearsal: &mut Rehearsal, log: &Log, until: usize) -> (Vec<Outcome>, Vec<CallRecord>) {
    let start = rehearsal
        .position()
        .map_or(0, |position| position.index as usize + 1);
    let (mut outcomes, mut calls) = (Vec::new(), Vec::new());
    for index in start..until {
        let input = Input::Entry(log.0[index].clone());
        let (applied, records) = rehearsal.apply(position(index), input).unwrap();
        outcomes.extend(applied.outcomes);
        calls.extend(records);
    }
    (outcomes, calls)
}

fn log() -> Log {
    let mut log = Log::founded(vec![tally()]);
    log.calls(2_000_000, &["count a 1", "count b 2"])
        .checkpoint(3_000_000)
        .calls(4_000_000, &["count a 10", "count nobody", "wake-at 1"])
        .checkpoint(5_000_000)
        .checkpoint(6_000_000)
        .calls(7_000_000, &["count a 100", "drop-name b", "calls"]);
    log.batch(9_000_000, vec![hostd_protocol::Command::Wake]);
    log
}

#[test]
fn a_rehearsal_does_what_the_machine_did_and_changes_nothing() {
    let (disk, log) = (Disk::default(), log());
    // Two checkpoints lie behind the one on disk, as they may for a copy of a node's files.
    let first = log.0.len() - 5;
    let durable = Log(log.0[..first].to_vec());
    let (stopped, _) = machine(&disk, &durable);
    drop(stopped);
    let fresh = Disk::default();
    let (_, expected) = machine(&fresh, &log);

    let opened = Machine::open(engine(), disk.clone()).unwrap();
    let before = opened.durable().clone();
    let mut rehearsal = opened.rehearsals().begin(u64::MAX).unwrap();
    let (outcomes, calls) = play(&mut rehearsal, &log, log.0.len());
    assert_eq!(outcomes, expected[expected.len() - outcomes.len()..]);
    assert!(outcomes.len() == 7, "{outcomes:?}");

    // What each call did.
    let names: Vec<_> = calls.iter().map(|call| call.called.clone()).collect();
    assert!(
        names.contains(&Called::Timer(b"woken".to_vec())),
        "{names:?}"
    );
    let dropped = calls
        .iter()
        .find(|call| matches!(&call.called, Called::Command { name, .. } if name == "drop-name"))
        .unwrap();
    assert_eq!(dropped.plugin.as_deref(), Some("tally"));
    assert_eq!(dropped.version, "1.0.0");
    assert!(dropped.fuel > 0);
    let [change] = dropped.writes.as_slice() else {
        panic!("{:?}", dropped.writes);
    };
    assert_eq!(change.subject, Subject::Key);
    assert_eq!(change.value, None);
    let refused = calls.iter().find(|call| call.outcome.is_err()).unwrap();
    assert!(refused.writes.is_empty());

    // The state as it is now can be asked.
    let total = rehearsal
        .view()
        .query(None, "total", &[b"a".to_vec().into()], Budget::Full)
        .unwrap();
    assert_eq!(total, Ok(Reply::Integer(111)));
    drop(rehearsal);

    // Nobody else saw any of it.
    assert_eq!(opened.position().unwrap().index as usize, first - 1);
    drop(opened);
    let again = Machine::open(engine(), disk.clone()).unwrap();
    assert_eq!(again.position().unwrap().index as usize, first - 1);
    let total = again
        .views()
        .latest()
        .query(None, "total", &[b"a".to_vec().into()], Budget::Full)
        .unwrap();
    assert_eq!(total, Ok(Reply::Integer(1)));
    assert_eq!(again.durable(), &before);
}

#[test]
fn another_version_takes_over_in_a_rehearsal_alone() {
    let (disk, log) = (Disk::default(), log());
    let (opened, _) = machine(&disk, &log);
    for (fixture, version) in [("tally-keys", "2.0.0"), ("tally-steps", "3.0.0")] {
        let other = component(&format!("tests/fixtures/{fixture}"));
        let mut rehearsal = opened.rehearsals().begin(u64::MAX).unwrap();
        let told = rehearsal.take_over(&other).unwrap().unwrap();
        assert!(told.starts_with("takes over"), "{told}");
        let view = rehearsal.view();
        assert_eq!(
            view.query(None, "version", &[], Budget::Full).unwrap(),
            Ok(Reply::Text(version.into()))
        );
        // Its own state, made anew from the one at the checkpoint.
        assert_eq!(
            view.query(None, "total", &[b"a".to_vec().into()], Budget::Full)
                .unwrap(),
            Ok(Reply::Integer(11))
        );
        let running = opened
            .views()
            .latest()
            .catalogue()
            .version("tally")
            .unwrap();
        assert_eq!(running.0, "1.0.0");
    }
    let mut rehearsal = opened.rehearsals().begin(u64::MAX).unwrap();
    let refused = rehearsal.take_over(b"nothing that runs").unwrap();
    assert!(refused.is_err());
}

#[test]
fn who_develops_sees_each_call_and_keeps_no_memory() {
    let log = log();
    let mut machine = Machine::open(engine(), Disk::default()).unwrap();
    let (sender, calls) = std::sync::mpsc::channel();
    machine.develop(Box::new(move |call| drop(sender.send(call))));
    for (index, entry) in log.0.iter().enumerate() {
        let applied = machine
            .apply(position(index), Input::Entry(entry.clone()))
            .unwrap();
        if let Some(job) = applied.flush {
            machine.flushed(job.run().unwrap());
        }
    }
    let calls: Vec<CallRecord> = calls.try_iter().collect();
    let last = calls
        .iter()
        .find(|call| matches!(&call.called, Called::Command { name, .. } if name == "calls"))
        .unwrap();
    // It counts in its memory, and was called before in the same entry.
    assert_eq!(last.outcome, Ok(Reply::Integer(1)));
}

#[test]
fn the_last_checkpoints_are_held_until_the_log_goes() {
    let (disk, log) = (Disk::default(), log());
    let (opened, _) = machine(&disk, &log);
    let total = |rehearsal: &Rehearsal| {
        let name = [b"a".to_vec().into()];
        rehearsal.view().query(None, "total", &name, Budget::Full)
    };
    let rehearsals = opened.rehearsals();
    // Before the founding, and at each of the three checkpoints.
    let begins = |from| {
        rehearsals
            .begin(from)
            .unwrap()
            .position()
            .map(|at| at.index)
    };
    assert_eq!(begins(0), None);
    assert_eq!(
        [begins(3), begins(5), begins(99)],
        [Some(2), Some(4), Some(5)]
    );
    assert_eq!(begins(2), None);
    let early = rehearsals.begin(3).unwrap();
    assert_eq!(total(&early).unwrap(), Ok(Reply::Integer(1)));
    // From wherever it is played, it comes to the same.
    for from in [0, 3, 5, 6] {
        let mut rehearsal = rehearsals.begin(from).unwrap();
        play(&mut rehearsal, &log, log.0.len());
        assert_eq!(total(&rehearsal).unwrap(), Ok(Reply::Integer(111)));
    }
    rehearsals.forget_before(4);
    assert_eq!(begins(0), Some(4));
    rehearsals.forget_before(99);
    assert_eq!(begins(0), Some(5));
}
