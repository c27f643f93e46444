//! Plugins that are uploaded, activated, migrated, rolled back and removed: what the machine
//! promises of each, and that a node which was away comes to the same.
#![allow(missing_docs)]

mod common;

use std::sync::OnceLock;

use common::{Log, Rig, call, call_once, code, component, integer};
use hostd_protocol::{
    Command, Entry, Limits, Outcome, PluginChange, PluginInfo, RejectionCode, Reply,
    UPLOAD_CHUNK_BYTES,
};

fn built(path: &'static str, slot: &'static OnceLock<Vec<u8>>) -> Vec<u8> {
    slot.get_or_init(|| component(path)).clone()
}

fn tally() -> Vec<u8> {
    static TALLY: OnceLock<Vec<u8>> = OnceLock::new();
    built("tests/fixtures/tally", &TALLY)
}

/// The same code under another version.
fn tally_again(version: &str) -> Vec<u8> {
    let (mut bytes, own) = (tally(), b"1.0.0");
    assert_eq!(version.len(), own.len());
    for at in 0..bytes.len() - own.len() {
        if bytes[at..].starts_with(own) {
            bytes[at..at + own.len()].copy_from_slice(version.as_bytes());
        }
    }
    bytes
}

fn tally_keys() -> Vec<u8> {
    static TALLY: OnceLock<Vec<u8>> = OnceLock::new();
    built("tests/fixtures/tally-keys", &TALLY)
}

fn tally_steps() -> Vec<u8> {
    static TALLY: OnceLock<Vec<u8>> = OnceLock::new();
    built("tests/fixtures/tally-steps", &TALLY)
}

fn digest(component: &[u8]) -> [u8; 32] {
    *blake3::hash(component).as_bytes()
}

fn change(change: PluginChange) -> Command {
    Command::Plugin {
        principal: "admin".into(),
        change,
    }
}

/// The commands that upload a component.
fn upload(component: &[u8]) -> Vec<Command> {
    let pieces = component.chunks(UPLOAD_CHUNK_BYTES).enumerate();
    pieces
        .map(|(number, piece)| {
            change(PluginChange::Upload {
                digest: digest(component),
                total: component.len() as u64,
                offset: (number * UPLOAD_CHUNK_BYTES) as u64,
                bytes: piece.to_vec(),
            })
        })
        .collect()
}

fn activate(component: &[u8]) -> Command {
    change(PluginChange::Activate {
        digest: digest(component),
        replace: true,
    })
}

/// What an activation says that it did.
fn result(outcome: &Outcome) -> String {
    let Ok(Reply::Map(pairs)) = outcome else {
        panic!("an activation failed: {outcome:?}");
    };
    match &pairs[0].1 {
        Reply::Text(text) => text.clone(),
        other => panic!("{other:?}"),
    }
}

/// A machine that keeps its log, so that others can follow it.
struct Cluster {
    rig: Rig,
    log: Log,
    time: u64,
}

impl Cluster {
    fn new(components: Vec<Vec<u8>>) -> Self {
        Self::with_limits(components, Limits::default())
    }

    fn with_limits(components: Vec<Vec<u8>>, limits: Limits) -> Self {
        let log = Log::with_limits(components, limits);
        let mut rig = Rig::new();
        rig.follow(&log);
        Self {
            rig,
            log,
            time: 2_000_000,
        }
    }

    fn batch(&mut self, commands: Vec<Command>) -> Vec<Outcome> {
        self.time += 1_000_000;
        self.log.batch(self.time, commands);
        let mut seen = self.rig.follow(&self.log);
        seen.remove(0).0
    }

    fn one(&mut self, command: Command) -> Outcome {
        self.batch(vec![command]).remove(0)
    }

    fn call(&mut self, line: &str) -> Outcome {
        self.one(call(line))
    }

    fn checkpoint(&mut self) {
        self.time += 1_000_000;
        self.log.checkpoint(self.time);
        self.rig.follow(&self.log);
    }

    /// Uploads and activates.
    fn upgrade(&mut self, component: &[u8]) -> Outcome {
        for outcome in self.batch(upload(component)) {
            integer(&outcome);
        }
        self.one(activate(component))
    }

    /// Works until there is nothing left to do; how many steps that took.
    fn work(&mut self) -> usize {
        let mut steps = 0;
        while self.rig.machine.views().latest().has_work() {
            self.one(Command::Work).unwrap();
            steps += 1;
            assert!(steps < 1_000, "the work has no end");
        }
        steps
    }

    fn total(&self, name: &str) -> Outcome {
        self.rig.query(&format!("total {name}"))
    }

    fn info(&self) -> PluginInfo {
        let plugins = self.rig.machine.views().latest().plugins();
        let tally = plugins.into_iter().find(|plugin| plugin.name == "tally");
        tally.expect("the plugin is known")
    }

    fn version(&self) -> Outcome {
        self.rig.query("version")
    }

    /// A node that starts with the log alone, one that restarted at its last checkpoint, and one
    /// that was given a snapshot come to the same state with the same outcomes.
    fn others_agree(&mut self) {
        self.checkpoint();
        let expected = self.rig.digest();
        let mut fresh = Rig::new();
        fresh.follow(&self.log);
        assert_eq!(fresh.digest(), expected, "replayed");
        for cut in (1..self.log.0.len()).step_by(3) {
            let mut node = Rig::new();
            let part = Log(self.log.0[..cut].to_vec());
            node.follow(&part);
            let mut node = node.restart();
            node.follow(&self.log);
            assert_eq!(node.digest(), expected, "restarted after {cut}");
        }
        let mut node = self.rig.clone_by_snapshot();
        self.call("count snapshot 1").unwrap();
        node.follow(&self.log);
        self.checkpoint();
        node.follow(&self.log);
        assert_eq!(node.digest(), self.rig.digest(), "from a snapshot");
    }
}

#[test]
fn an_upload_goes_on_where_it_was_interrupted() {
    let mut cluster = Cluster::new(vec![]);
    let component = [tally(), vec![0; 600_000]].concat();
    let pieces = upload(&component);
    assert_eq!(pieces.len(), 3);
    assert_eq!(
        integer(&cluster.one(pieces[0].clone())),
        UPLOAD_CHUNK_BYTES as i64
    );
    // Again, and one that comes too early: the answer is where to go on.
    assert_eq!(
        integer(&cluster.one(pieces[0].clone())),
        UPLOAD_CHUNK_BYTES as i64
    );
    assert_eq!(
        integer(&cluster.one(pieces[2].clone())),
        UPLOAD_CHUNK_BYTES as i64
    );
    cluster.checkpoint();
    cluster.rig = std::mem::replace(&mut cluster.rig, Rig::new()).restart();
    integer(&cluster.one(pieces[1].clone()));
    assert_eq!(
        integer(&cluster.one(pieces[2].clone())),
        component.len() as i64
    );
    // It is there, from whichever piece one asks.
    assert_eq!(
        integer(&cluster.one(pieces[0].clone())),
        component.len() as i64
    );
    let view = cluster.rig.machine.views().latest();
    let stored = view.component(&digest(&component)).unwrap().unwrap();
    assert_eq!(*stored, *component);
}

#[test]
fn what_is_not_what_it_is_said_to_be_is_not_taken() {
    let mut cluster = Cluster::new(vec![]);
    let lie = change(PluginChange::Upload {
        digest: [7; 32],
        total: 5,
        offset: 0,
        bytes: b"hello".to_vec(),
    });
    assert_eq!(*code(&cluster.one(lie)), RejectionCode::InvalidArgument);
    let never = change(PluginChange::Activate {
        digest: [7; 32],
        replace: true,
    });
    assert_eq!(*code(&cluster.one(never)), RejectionCode::NotFound);
    // Garbage under its own digest can be uploaded, and not activated; then it is gone.
    let garbage = b"\0asm and then nothing".to_vec();
    assert_eq!(
        *code(&cluster.upgrade(&garbage)),
        RejectionCode::InvalidArgument
    );
    assert_eq!(
        *code(&cluster.one(activate(&garbage))),
        RejectionCode::NotFound
    );
    let large = change(PluginChange::Upload {
        digest: [8; 32],
        total: 1 << 40,
        offset: 0,
        bytes: vec![1],
    });
    assert_eq!(*code(&cluster.one(large)), RejectionCode::TooLarge);
}

#[test]
fn only_so_many_uploads_are_under_way_and_abandoned_ones_make_room() {
    let mut cluster = Cluster::new(vec![]);
    let begin = |number: u8| {
        change(PluginChange::Upload {
            digest: [number; 32],
            total: 100,
            offset: 0,
            bytes: vec![number],
        })
    };
    for number in 0..8 {
        assert_eq!(integer(&cluster.one(begin(number))), 1);
    }
    assert_eq!(*code(&cluster.one(begin(9))), RejectionCode::NoSpace);
    cluster.time += 61_000_000_000;
    cluster.one(begin(1)).unwrap();
    cluster.time += 30_000_000_000;
    assert_eq!(integer(&cluster.one(begin(9))), 1);
    // The first one, which was left alone for longest, begins anew.
    assert_eq!(
        integer(&cluster.one(change(PluginChange::Upload {
            digest: [0; 32],
            total: 100,
            offset: 1,
            bytes: vec![0],
        }))),
        0
    );
}

#[test]
fn a_component_that_was_uploaded_and_installed_does_not_go_with_the_upload() {
    let mut cluster = Cluster::new(vec![]);
    cluster.batch(upload(&tally()));
    cluster
        .one(Command::Install {
            principal: "hostd".into(),
            component: tally(),
        })
        .unwrap();
    for number in 0..9 {
        cluster.time += 61_000_000_000;
        cluster
            .one(change(PluginChange::Upload {
                digest: [number; 32],
                total: 100,
                offset: 0,
                bytes: vec![number],
            }))
            .unwrap();
    }
    cluster.others_agree();
    assert_eq!(integer(&cluster.call("count apples 1")), 1);
}

#[test]
fn a_new_version_takes_over_at_once_and_the_old_one_comes_back() {
    let mut cluster = Cluster::new(vec![tally()]);
    assert_eq!(integer(&cluster.call("count apples 3")), 3);
    assert_eq!(integer(&cluster.call("calls")), 1);
    assert_eq!(integer(&cluster.call("calls")), 2);
    let next = tally_again("1.1.0");
    let refused = cluster.one(change(PluginChange::Activate {
        digest: digest(&next),
        replace: true,
    }));
    assert_eq!(*code(&refused), RejectionCode::NotFound);
    assert_eq!(result(&cluster.upgrade(&next)), "upgraded");
    assert_eq!(result(&cluster.one(activate(&next))), "unchanged");
    // The instance is a new one.
    assert_eq!(integer(&cluster.call("calls")), 1);
    assert_eq!(integer(&cluster.call("count apples 1")), 4);
    assert_eq!(result(&cluster.one(activate(&tally()))), "rolled back");
    assert_eq!(integer(&cluster.call("count apples 1")), 5);
    let info = cluster.info();
    let versions: Vec<_> = info
        .versions
        .iter()
        .map(|version| (version.version.as_str(), version.active))
        .collect();
    assert_eq!(versions, [("1.1.0", false), ("1.0.0", true)]);
    cluster.others_agree();
}

#[test]
fn a_plugin_that_is_there_is_not_replaced_by_an_installation() {
    let mut cluster = Cluster::new(vec![tally()]);
    let next = tally_again("1.1.0");
    cluster.batch(upload(&next));
    let install = change(PluginChange::Activate {
        digest: digest(&next),
        replace: false,
    });
    assert_eq!(
        *code(&cluster.one(install)),
        RejectionCode::Rejected("already_installed".into())
    );
    assert_eq!(cluster.version(), Ok(Reply::Text("1.0.0".into())));
}

#[test]
fn a_state_is_migrated_key_by_key_while_writes_go_on() {
    let mut cluster = Cluster::new(vec![tally()]);
    for hundred in 0..30 {
        cluster
            .call(&format!("fill a {} 100", hundred * 100))
            .unwrap();
    }
    assert_eq!(integer(&cluster.call("count apples 3")), 3);
    assert_eq!(result(&cluster.upgrade(&tally_keys())), "migrating");
    let mut steps = 0;
    while cluster.info().migration.is_some() {
        // The old version answers, and what it writes is not lost, wherever it lies.
        assert_eq!(cluster.version(), Ok(Reply::Text("1.0.0".into())));
        assert_eq!(integer(&cluster.call("count a0 1")), 2 + steps);
        assert_eq!(integer(&cluster.call("count zebras 1")), 1 + steps);
        cluster.call(&format!("drop-name a{}", steps + 1)).unwrap();
        cluster.one(Command::Work).unwrap();
        steps += 1;
    }
    assert!(steps >= 3, "it takes several steps");
    assert_eq!(cluster.version(), Ok(Reply::Text("2.0.0".into())));
    assert_eq!(integer(&cluster.total("a0")), 1 + steps);
    assert_eq!(integer(&cluster.total("zebras")), steps);
    assert_eq!(integer(&cluster.total("apples")), 3);
    assert_eq!(integer(&cluster.total("a2999")), 1);
    for gone in 1..=steps {
        assert_eq!(cluster.total(&format!("a{gone}")), Ok(Reply::Nil));
    }
    let info = cluster.info();
    assert_eq!(info.state_version, 2);
    assert_eq!(info.keys as i64, 3_000 + 2 - steps);
    cluster.work();
    assert_eq!(cluster.info().keys as i64, 3_000 + 2 - steps);
    // The old version cannot read this any more.
    assert_eq!(
        *code(&cluster.one(activate(&tally()))),
        RejectionCode::Rejected("state_version".into())
    );
    cluster.others_agree();
}

#[test]
fn a_state_is_migrated_as_a_whole_while_writes_wait() {
    let mut cluster = Cluster::new(vec![tally()]);
    for hundred in 0..15 {
        cluster
            .call(&format!("fill a {} 100", hundred * 100))
            .unwrap();
    }
    let session = integer(&cluster.one(Command::OpenSession {
        principal: "test".into(),
    })) as u64;
    assert_eq!(result(&cluster.upgrade(&tally_steps())), "migrating");
    let (mut went, mut waited) = (0, 0);
    while cluster.info().migration.is_some() {
        assert_eq!(cluster.version(), Ok(Reply::Text("1.0.0".into())));
        assert_eq!(integer(&cluster.total("a7")), 1);
        let outcome = cluster.one(call_once("count apples 1", session, 1 + went));
        match outcome {
            Ok(_) => went += 1,
            Err(rejection) => {
                assert_eq!(rejection.code, RejectionCode::Migrating);
                waited += 1;
            }
        }
        cluster.one(Command::Work).unwrap();
    }
    assert!(went >= 2 && waited >= 5, "{went} {waited}");
    assert_eq!(cluster.version(), Ok(Reply::Text("3.0.0".into())));
    assert_eq!(integer(&cluster.total("apples")) as u64, went);
    // The call that waited runs when it comes again, once.
    let again = call_once("count apples 1", session, 1 + went);
    assert_eq!(integer(&cluster.one(again.clone())) as u64, went + 1);
    assert_eq!(integer(&cluster.one(again)) as u64, went + 1);
    assert_eq!(integer(&cluster.total("a1499")), 1);
    cluster.others_agree();
}

#[test]
fn timers_outlive_a_migration_and_wait_for_it() {
    let mut cluster = Cluster::new(vec![tally()]);
    for hundred in 0..6 {
        cluster
            .call(&format!("fill a {} 100", hundred * 100))
            .unwrap();
    }
    cluster.call("wake-at 5").unwrap();
    cluster.upgrade(&tally_steps()).unwrap();
    while cluster.info().migration.is_some() {
        cluster.one(Command::Wake).unwrap();
        cluster.one(Command::Work).unwrap();
        assert_eq!(cluster.total("woken"), Ok(Reply::Nil));
        assert_eq!(cluster.info().timers, 1);
    }
    cluster.time += 1_000_000_000;
    assert_eq!(integer(&cluster.one(Command::Wake)), 1);
    assert_eq!(integer(&cluster.total("woken")), 1);
    assert_eq!(cluster.info().timers, 0);
    cluster.others_agree();
}

#[test]
fn a_migration_that_fails_leaves_everything_as_it_was_and_says_why() {
    for (version, name, reason) in [
        (tally_keys(), "trap", "trapped"),
        (tally_keys(), "reject", "this name cannot be migrated"),
        (tally_steps(), "trap", "trapped"),
    ] {
        let mut cluster = Cluster::new(vec![tally()]);
        for hundred in 0..12 {
            cluster
                .call(&format!("fill a {} 100", hundred * 100))
                .unwrap();
        }
        cluster.call(&format!("count {name} 5")).unwrap();
        let before = cluster.info();
        assert_eq!(result(&cluster.upgrade(&version)), "migrating");
        let mut writes = 0;
        while cluster.info().migration.is_some() {
            writes += i64::from(cluster.call("count a5 1").is_ok());
            cluster.one(Command::Work).unwrap();
        }
        let info = cluster.info();
        let failed = info.failed.as_ref().expect("it failed");
        assert!(failed.reason.contains(reason), "{failed:?}");
        assert!(!info.versions.iter().any(|kept| kept.digest == failed.to));
        cluster.work();
        assert_eq!(cluster.version(), Ok(Reply::Text("1.0.0".into())));
        assert_eq!(integer(&cluster.total("a5")), 1 + writes);
        assert_eq!(integer(&cluster.total(name)), 5);
        assert_eq!(cluster.info().keys, before.keys);
        // Nothing of the new one is left, and it can be tried again.
        assert_eq!(
            *code(&cluster.one(activate(&version))),
            RejectionCode::NotFound
        );
        cluster.call(&format!("drop-name {name}")).unwrap();
        assert_eq!(result(&cluster.upgrade(&version)), "migrating");
        cluster.work();
        assert_eq!(cluster.info().failed, None);
        assert_eq!(integer(&cluster.total("a5")), 1 + writes);
        cluster.others_agree();
    }
}

#[test]
fn a_write_that_cannot_be_translated_ends_the_migration_and_stands() {
    let mut cluster = Cluster::new(vec![tally()]);
    for hundred in 0..20 {
        cluster
            .call(&format!("fill z {} 100", hundred * 100))
            .unwrap();
    }
    cluster.upgrade(&tally_keys()).unwrap();
    cluster.one(Command::Work).unwrap();
    // Before all that is done: it is translated with the command that writes it.
    assert_eq!(integer(&cluster.call("count reject 1")), 1);
    let info = cluster.info();
    assert_eq!(info.migration, None);
    assert!(info.failed.is_some());
    assert_eq!(integer(&cluster.total("reject")), 1);
    cluster.others_agree();
}

#[test]
fn a_quota_refuses_growth_and_nothing_else() {
    let mut cluster = Cluster::new(vec![tally()]);
    cluster.call("fill a 0 10").unwrap();
    let info = cluster.info();
    assert_eq!((info.keys, info.data_bytes), (10, 10 * (4 + 1)));
    let limit = |values: &[(&str, Option<u64>)]| {
        change(PluginChange::Limit {
            plugin: Some("tally".into()),
            values: values
                .iter()
                .map(|(name, value)| ((*name).to_owned(), *value))
                .collect(),
        })
    };
    cluster.one(limit(&[("keys_max", Some(10))])).unwrap();
    assert_eq!(*code(&cluster.call("count new 1")), RejectionCode::NoSpace);
    assert_eq!(integer(&cluster.call("count a1 1")), 2);
    assert_eq!(integer(&cluster.total("a1")), 2);
    cluster.call("drop-name a1").unwrap();
    assert_eq!(integer(&cluster.call("count new 1")), 1);
    cluster
        .one(limit(&[("keys_max", None), ("data_bytes_max", Some(60))]))
        .unwrap();
    assert_eq!(*code(&cluster.call("fill b 0 10")), RejectionCode::NoSpace);
    cluster
        .one(limit(&[
            ("data_bytes_max", None),
            ("fuel_per_command", Some(100_000)),
        ]))
        .unwrap();
    assert_eq!(
        *code(&cluster.call("fill b 0 1000")),
        RejectionCode::FuelExhausted
    );
    cluster.one(limit(&[("fuel_per_command", None)])).unwrap();
    cluster.call("fill b 0 1000").unwrap();
    assert_eq!(cluster.info().limits, []);
    for bad in [
        limit(&[("keys", Some(1))]),
        limit(&[("plugins_max", Some(1))]),
        limit(&[("memory_bytes_max", Some(1 << 40))]),
    ] {
        assert_eq!(*code(&cluster.one(bad)), RejectionCode::InvalidArgument);
    }
    // The cluster's own.
    cluster
        .one(change(PluginChange::Limit {
            plugin: None,
            values: vec![("keys_max".into(), Some(3))],
        }))
        .unwrap();
    assert_eq!(*code(&cluster.call("count more 1")), RejectionCode::NoSpace);
    cluster.call("drop-name new").unwrap();
    cluster.checkpoint();
    cluster.rig = std::mem::replace(&mut cluster.rig, Rig::new()).restart();
    assert_eq!(*code(&cluster.call("count more 1")), RejectionCode::NoSpace);
    cluster
        .one(change(PluginChange::Limit {
            plugin: None,
            values: vec![("keys_max".into(), None)],
        }))
        .unwrap();
    cluster.others_agree();
}

#[test]
fn a_removed_plugin_keeps_its_state_unless_that_is_purged() {
    let mut cluster = Cluster::new(vec![tally()]);
    cluster.call("fill a 0 5000").unwrap();
    let remove = |purge| {
        change(PluginChange::Remove {
            plugin: "tally".into(),
            purge,
        })
    };
    cluster.one(remove(false)).unwrap();
    assert_eq!(
        *code(&cluster.call("count a0 1")),
        RejectionCode::UnknownCommand
    );
    assert_eq!(cluster.info().keys, 5_000);
    // A version that it has kept runs again, with the state as it was.
    assert_eq!(result(&cluster.one(activate(&tally()))), "installed");
    assert_eq!(integer(&cluster.call("count a0 1")), 2);
    cluster.one(remove(true)).unwrap();
    assert!(cluster.work() > 2, "rows go in bounded steps");
    assert!(cluster.rig.machine.views().latest().plugins().is_empty());
    assert_eq!(
        *code(&cluster.one(activate(&tally()))),
        RejectionCode::NotFound
    );
    assert_eq!(result(&cluster.upgrade(&tally())), "installed");
    assert_eq!(cluster.total("a0"), Ok(Reply::Nil));
    cluster.others_agree();
}

#[test]
fn kept_versions_are_bounded_and_can_be_forgotten() {
    let mut cluster = Cluster::with_limits(
        vec![tally()],
        Limits {
            versions_max: 3,
            ..Limits::default()
        },
    );
    for number in 1..=4 {
        let next = tally_again(&format!("1.{number}.0"));
        assert_eq!(result(&cluster.upgrade(&next)), "upgraded");
    }
    let names = |cluster: &Cluster| -> Vec<String> {
        let versions = cluster.info().versions;
        versions.into_iter().map(|kept| kept.version).collect()
    };
    assert_eq!(names(&cluster), ["1.2.0", "1.3.0", "1.4.0"]);
    assert_eq!(
        *code(&cluster.one(activate(&tally()))),
        RejectionCode::NotFound
    );
    let forget = |version: &str| {
        change(PluginChange::Forget {
            plugin: "tally".into(),
            digest: digest(&tally_again(version)),
        })
    };
    cluster.one(forget("1.2.0")).unwrap();
    assert_eq!(
        *code(&cluster.one(forget("1.4.0"))),
        RejectionCode::Rejected("in_use".into())
    );
    assert_eq!(names(&cluster), ["1.3.0", "1.4.0"]);
    cluster.others_agree();
}

#[test]
fn an_installation_says_which_names_two_plugins_have_now() {
    let mut cluster = Cluster::new(vec![tally()]);
    let other = {
        let mut bytes = tally();
        for at in 0..bytes.len() - 5 {
            if bytes[at..].starts_with(b"tally") {
                bytes[at..at + 5].copy_from_slice(b"rally");
            }
        }
        bytes
    };
    let Ok(Reply::Map(pairs)) = cluster.upgrade(&other) else {
        panic!("it is installed");
    };
    let shared = pairs
        .iter()
        .find(|(name, _)| *name == Reply::Text("shared".into()))
        .expect("it says so");
    assert!(
        matches!(&shared.1, Reply::Array(names) if names.contains(&Reply::Text("count".into())))
    );
    assert_eq!(
        *code(&cluster.call("count a 1")),
        RejectionCode::UnknownCommand
    );
    assert_eq!(integer(&cluster.call("rally.count a 1")), 1);
    assert_eq!(integer(&cluster.call("tally.count a 5")), 5);
    cluster
        .one(change(PluginChange::Remove {
            plugin: "rally".into(),
            purge: true,
        }))
        .unwrap();
    assert_eq!(integer(&cluster.call("count a 1")), 6);
}

#[test]
fn a_bare_checkpoint_in_the_middle_of_a_migration_changes_nothing() {
    let mut cluster = Cluster::new(vec![tally()]);
    cluster.call("fill a 0 3500").unwrap();
    cluster.upgrade(&tally_keys()).unwrap();
    while cluster.info().migration.is_some() {
        cluster.one(Command::Work).unwrap();
        cluster.checkpoint();
        cluster.rig = std::mem::replace(&mut cluster.rig, Rig::new()).restart();
    }
    assert_eq!(integer(&cluster.total("a3499")), 1);
    let checkpoints = cluster.log.0.iter();
    assert!(
        checkpoints
            .filter(|entry| matches!(entry, Entry::Checkpoint { .. }))
            .count()
            > 3
    );
    cluster.others_agree();
}
