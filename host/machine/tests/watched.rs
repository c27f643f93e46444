//! What watchers are told of what commands did, and what of it outlives a restart.
#![allow(missing_docs)]

mod common;

use std::sync::OnceLock;

use common::{Disk, Log, Rig, call, call_once, component, hostile, integer};
use hostd_machine::{Past, PresentCursor};
use hostd_protocol::{
    Batch, Change, ChangeEvent, Changed, Command, Entry, PluginChange, Revision, show_bytes,
};

const PAST_BYTES: usize = 1 << 20;

fn kv() -> Vec<u8> {
    static KV: OnceLock<Vec<u8>> = OnceLock::new();
    KV.get_or_init(|| component("plugins/kv")).clone()
}

/// A machine with kv, that keeps its past.
fn rig() -> (Rig, Past) {
    let mut rig = Rig::new();
    let past = rig.machine.keep_past(PAST_BYTES).unwrap();
    rig.follow(&Log::founded(vec![kv(), hostile()]));
    (rig, past)
}

fn show(change: &Change) -> String {
    let what = match &change.event {
        ChangeEvent::Put { key, value } => {
            format!("put {} {}", show_bytes(key), show_bytes(value))
        }
        ChangeEvent::Delete { key, expired } => {
            let what = if *expired { "expired" } else { "delete" };
            format!("{what} {}", show_bytes(key))
        }
        ChangeEvent::Published { topic, payload } => {
            format!("publish {topic} of {} bytes", payload.len())
        }
        ChangeEvent::Renewed => "renewed".into(),
    };
    format!("{} {what}", change.plugin)
}

fn shown<'a>(changed: impl IntoIterator<Item = &'a std::sync::Arc<Changed>>) -> Vec<String> {
    let changed = changed.into_iter();
    changed
        .map(|changed| {
            let changes: Vec<_> = changed.changes.iter().map(show).collect();
            format!("{}: {}", changed.revision, changes.join(", "))
        })
        .collect()
}

fn apply(rig: &mut Rig, time: u64, commands: Vec<Command>) -> Vec<String> {
    let entry = Entry::Batch(Batch {
        time,
        seed: [9; 16],
        commands,
    });
    shown(&rig.apply(&entry).changed)
}

fn calls(rig: &mut Rig, time: u64, lines: &[&str]) -> Vec<String> {
    apply(rig, time, lines.iter().map(|line| call(line)).collect())
}

#[test]
fn each_command_tells_the_keys_that_it_changed_as_users_know_them() {
    let (mut rig, _) = rig();
    let lines = [
        "kv.set a 1",
        "kv.get a",
        "kv.mset b 2 c 3",
        "kv.set a 4 NX",
        "kv.incr a",
        "kv.expire b 100",
        "kv.rename c d",
        "kv.del a nothing",
        "kv.set",
        "kv.flushdb",
    ];
    assert_eq!(
        calls(&mut rig, 2_000_000, &lines),
        [
            "2-0: kv put a 1",
            "2-2: kv put b 2, kv put c 3",
            "2-4: kv put a 2",
            "2-5: kv put b 2",
            "2-6: kv delete c, kv put d 3",
            "2-7: kv delete a",
            "2-9: kv delete b, kv delete d",
        ]
    );
}

#[test]
fn a_key_that_expires_is_told_as_such() {
    let (mut rig, _) = rig();
    calls(&mut rig, 2_000_000, &["kv.set a 1 PX 5", "kv.set b 2 PX 5"]);
    let told = apply(&mut rig, 9_000_000, vec![Command::Wake]);
    assert_eq!(told, ["3-0: kv expired a, kv expired b"]);
}

#[test]
fn what_did_not_take_effect_and_what_ran_before_is_not_told() {
    let (mut rig, _) = rig();
    let open = Command::OpenSession {
        principal: "test".into(),
    };
    let session = rig.command(2_000_000, open);
    let session = integer(&session) as u64;
    let retried = call_once("kv.incr n", session, 1);
    let commands = vec![
        retried.clone(),
        retried,
        call("hostile.reject"),
        call("hostile.panic"),
        call("hostile.publish 2 10"),
    ];
    let told = apply(&mut rig, 3_000_000, commands);
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[0], "3-0: kv put n 1");
    assert!(told[1].starts_with("3-4: hostile publish "), "{told:?}");
    assert_eq!(told[1].matches("of 10 bytes").count(), 2);
}

#[test]
fn replicas_tell_alike() {
    let log = {
        let mut log = Log::founded(vec![kv(), hostile()]);
        log.calls(2_000_000, &["kv.mset x 1 y 2", "hostile.draw", "kv.del y"]);
        log.checkpoint(3_000_000);
        log.calls(4_000_000, &["kv.append x 5", "hostile.publish 1 1"]);
        log
    };
    let tell = |rig: &mut Rig| -> Vec<String> {
        let from = rig.next_index() as usize - 1;
        log.0[from..]
            .iter()
            .flat_map(|entry| shown(&rig.apply(entry).changed))
            .collect()
    };
    let mut one = Rig::new();
    let told = tell(&mut one);
    assert_eq!(told.len(), 4, "{told:?}");
    // One that begins at the checkpoint tells the rest.
    let mut other = one.clone_by_snapshot();
    assert_eq!(tell(&mut other), told[2..]);
}

#[test]
fn a_state_that_becomes_another_is_told_once() {
    let (mut rig, _) = rig();
    calls(&mut rig, 2_000_000, &["kv.set a 1"]);
    let plugin = |change| Command::Plugin {
        principal: "test".into(),
        change,
    };
    let remove = |purge| {
        plugin(PluginChange::Remove {
            plugin: "kv".into(),
            purge,
        })
    };
    let install = || Command::Install {
        principal: "test".into(),
        component: kv(),
    };
    let change = |rig: &mut Rig, time, command| apply(rig, time, vec![command]);
    assert_eq!(
        change(&mut rig, 3_000_000, remove(false)),
        ["3-0: kv renewed"]
    );
    let back = change(&mut rig, 4_000_000, install());
    assert_eq!(back, ["4-0: kv renewed"], "it finds what it left behind");
    assert_eq!(change(&mut rig, 5_000_000, install()), [""; 0]);
}

#[test]
fn the_present_is_told_page_by_page_with_revisions() {
    let (mut rig, _) = rig();
    calls(
        &mut rig,
        2_000_000,
        &["kv.mset a 1 b 2", "kv.set user:1 x", "kv.set user:2 y"],
    );
    rig.checkpoint(3_000_000);
    calls(
        &mut rig,
        4_000_000,
        &["kv.set b 3", "kv.del user:1", "kv.set user:3 z"],
    );
    let view = rig.machine.views().latest();
    let all = |plugin, prefix: &str, bytes_max| {
        let mut cursor = Some(PresentCursor::default());
        let mut told = Vec::new();
        let mut pages = 0;
        while let Some(at) = cursor {
            let page = view
                .present(plugin, prefix.as_bytes(), &at, bytes_max)
                .unwrap();
            for key in page.keys {
                let (name, value) = (show_bytes(&key.key), show_bytes(&key.value));
                told.push(format!("{name}={value}@{}", key.revision));
            }
            cursor = page.next;
            pages += 1;
        }
        (told, pages)
    };
    let expected = ["a=1@2-0", "b=3@4-0", "user:2=y@2-2", "user:3=z@4-2"];
    for bytes_max in [1, 10, 1_000] {
        assert_eq!(all(Some("kv"), "", bytes_max).0, expected);
        assert_eq!(all(None, "user:", bytes_max).0, expected[2..]);
    }
    assert!(all(None, "", 1).1 > 3);
    assert_eq!(all(Some("hostile"), "", 1).0, [""; 0]);
}

#[test]
fn the_past_up_to_the_last_checkpoint_outlives_a_restart() {
    let (mut rig, past) = rig();
    assert_eq!((past.from, past.changed.len()), (Revision::start_of(0), 0));
    let mut told = calls(&mut rig, 2_000_000, &["kv.set a 1", "kv.set b 2"]);
    rig.checkpoint(3_000_000);
    told.extend(calls(&mut rig, 4_000_000, &["kv.del a"]));
    rig.checkpoint(5_000_000);
    // This is in the log only.
    calls(&mut rig, 6_000_000, &["kv.set c 3"]);

    let mut again = rig.restart();
    let past = again.machine.keep_past(PAST_BYTES).unwrap();
    assert_eq!(past.from, Revision::start_of(0));
    assert_eq!(shown(&past.changed), told);
    assert_eq!(again.next_index(), 6);
    assert_eq!(
        calls(&mut again, 6_000_000, &["kv.set c 3"]),
        ["6-0: kv put c 3"]
    );
}

#[test]
fn who_installs_a_snapshot_knows_nothing_before_it() {
    let (mut rig, _) = rig();
    calls(&mut rig, 2_000_000, &["kv.set a 1"]);
    rig.checkpoint(3_000_000);
    let mut other = Rig::on(Disk::default());
    other.machine.keep_past(PAST_BYTES).unwrap();
    other.install(&rig);
    let told = calls(&mut other, 4_000_000, &["kv.set b 2"]);
    other.checkpoint(5_000_000);
    let past = other.restart().machine.keep_past(PAST_BYTES).unwrap();
    assert_eq!(past.from, Revision::start_of(4));
    assert_eq!(shown(&past.changed), told);
}
