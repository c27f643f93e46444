//! What a plugin may use.

use hostd_protocol::{PluginChange, RejectionCode};

use crate::cluster::{Cluster, change, tally};
use crate::common::{Rig, code, integer};

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
