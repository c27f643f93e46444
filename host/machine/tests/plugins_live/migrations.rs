//! A state that is made anew for another version.

use hostd_protocol::{Command, Entry, RejectionCode, Reply};

use crate::cluster::{Cluster, activate, result, tally, tally_keys, tally_steps};
use crate::common::{Rig, call_once, code, integer};

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
