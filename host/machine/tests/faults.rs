//! Disks that fail, and crashes in the middle of a write.
#![allow(missing_docs)]

mod common;

use common::{Change, Disk, Log, Rig, hostile};
use hostd_machine::{Durable, Fault, Input, Machine, Position};
use hostd_protocol::{Entry, Reply};

const CHECKPOINT: Entry = Entry::Checkpoint {
    time: 9_000_000,
    previous: None,
};

/// A machine whose state is larger than what is cached of its disk.
fn large() -> Rig {
    let mut rig = Rig::new();
    rig.follow(&Log::founded(vec![hostile()]));
    let value = "v".repeat(6_000_000);
    for key in 0..10u64 {
        rig.call(key, &format!("put {key} {value}")).unwrap();
    }
    rig.checkpoint(20);
    rig.restart()
}

#[test]
fn a_disk_that_cannot_be_read_is_a_fault_whatever_the_plugin_makes_of_it() {
    let mut refused = 0;
    for line in ["walk VALUES", "delete 0", "delete 5", "delete 9"] {
        let mut rig = large();
        rig.disk.breaks();
        let mut log = Log::default();
        log.calls(30, &[line]);
        let position = Position {
            term: 1,
            index: rig.next_index(),
        };
        let applied = rig.machine.apply(position, Input::Entry(log.0.remove(0)));
        match applied {
            Ok(applied) => assert!(applied.outcomes[0].is_ok(), "{line}: {applied:?}"),
            Err(Fault::Storage(_)) => {
                refused += 1;
                // Queries go on, until somebody stops the node.
                rig.machine.publish();
            }
            Err(other) => panic!("{line}: {other}"),
        }
    }
    assert!(refused >= 2, "only {refused} commands met the broken disk");
}

#[test]
fn a_query_on_a_disk_that_cannot_be_read_is_a_fault() {
    let rig = large();
    rig.disk.breaks();
    let faults = (0..10)
        .filter(|key| rig.try_query(&format!("get {key}")).is_err())
        .count();
    assert!(faults > 0);
}

/// A flush that is done but not yet taken in does not reach into a snapshot of the checkpoint
/// before it.
#[test]
fn a_snapshot_is_of_the_checkpoint_that_it_says() {
    let mut rig = Rig::new();
    rig.follow(&Log::founded(vec![hostile()]));
    rig.call(1, "put a 1").unwrap();
    let digest = rig.checkpoint(2);
    rig.call(3, "put a 2").unwrap();
    let (_, job) = rig.apply_holding_flush(&CHECKPOINT);
    let flushed = job.unwrap().run().unwrap();
    let copy = rig.clone_by_snapshot();
    assert_eq!(copy.digest(), digest);
    assert_eq!(copy.query("get a"), Ok(Reply::Bytes(b"1".to_vec())));
    rig.machine.flushed(flushed);
    assert_eq!(
        rig.clone_by_snapshot().query("get a"),
        Ok(Reply::Bytes(b"2".to_vec()))
    );
}

/// One transaction makes a checkpoint durable: wherever the power goes, the machine comes back at
/// the checkpoint before or at this one.
#[test]
fn a_crash_within_a_checkpoint_leaves_the_one_before_or_this_one() {
    let mut rig = Rig::new();
    let mut log = Log::founded(vec![hostile()]);
    log.calls(1, &["fill 300", "put a 1"]).checkpoint(2);
    rig.follow(&log);
    rig.call(3, "empty").unwrap();
    rig.call(4, "put a 2").unwrap();
    rig.call(5, "draw").unwrap();
    let before = rig.machine.durable().clone();
    let bytes = rig.disk.bytes();
    rig.disk.record();
    let (_, job) = rig.apply_holding_flush(&CHECKPOINT);
    rig.machine.flushed(job.unwrap().run().unwrap());
    let after = rig.machine.durable().clone();
    let journal = rig.disk.recorded();
    assert_ne!(before, after);

    let mut seen = [0, 0];
    let mut reopen = |bytes: Vec<u8>, crash: String| {
        let durable = open(bytes, &crash);
        let new = durable == after;
        assert!(new || durable == before, "{crash}: {durable:?}");
        seen[usize::from(new)] += 1;
        new
    };
    for cut in 0..=journal.len() {
        let done = &journal[..cut];
        let new = reopen(
            disk_after(&bytes, done.iter()),
            format!("after {cut} writes"),
        );
        assert!(cut < journal.len() || new, "what was synced is lost");
        if let Some(Change::Write(start, data)) = journal.get(cut) {
            let torn = Change::Write(*start, data[..data.len() / 2].to_vec());
            let writes = done.iter().chain([&torn]);
            reopen(disk_after(&bytes, writes), format!("in write {cut}"));
        }
        // What was not synced may arrive in any order: leave some of it out.
        let synced = done
            .iter()
            .rposition(|change| matches!(change, Change::Sync))
            .map_or(0, |at| at + 1);
        for lost in 0..3 {
            let writes = done.iter().enumerate().filter(|(at, change)| {
                *at < synced || *at % 3 != lost || !matches!(change, Change::Write(..))
            });
            let writes = writes.map(|(_, change)| change);
            reopen(
                disk_after(&bytes, writes),
                format!("after {cut} writes, some lost"),
            );
        }
    }
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
}

fn disk_after<'a>(bytes: &[u8], changes: impl Iterator<Item = &'a Change>) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for change in changes {
        change.apply(&mut bytes);
    }
    bytes
}

fn open(bytes: Vec<u8>, crash: &str) -> Durable {
    Machine::open(common::engine(), Disk::of(bytes))
        .unwrap_or_else(|error| panic!("{crash}: {error}"))
        .durable()
        .clone()
}
