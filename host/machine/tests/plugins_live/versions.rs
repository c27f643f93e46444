//! Which version runs: replaced, brought back, kept, forgotten, removed.

use hostd_protocol::{Limits, PluginChange, RejectionCode, Reply};

use crate::cluster::{Cluster, activate, change, digest, result, tally, tally_again, upload};
use crate::common::{code, integer};

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
