//! Components on their way into the machine.

use hostd_protocol::{Command, PluginChange, RejectionCode, UPLOAD_CHUNK_BYTES};

use crate::cluster::{Cluster, activate, change, digest, result, tally, upload};
use crate::common::{Rig, code, integer};

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
fn an_upload_that_is_discarded_makes_room_and_a_plugin_is_none() {
    let mut cluster = Cluster::new(vec![]);
    assert_eq!(result(&cluster.upgrade(&tally())), "installed");
    let discard = |digest| change(PluginChange::Discard { digest });
    let garbage = |number: u8| [b"\0asm".as_slice(), &[number]].concat();
    for number in 0..20 {
        let garbage = garbage(number);
        cluster.batch(upload(&garbage)).remove(0).unwrap();
        cluster.one(discard(digest(&garbage))).unwrap();
        assert_eq!(
            *code(&cluster.one(activate(&garbage))),
            RejectionCode::NotFound
        );
    }
    // Half of one, and none.
    let large = [tally(), vec![0; 600_000]].concat();
    cluster.one(upload(&large).remove(0)).unwrap();
    cluster.one(discard(digest(&large))).unwrap();
    cluster.one(discard([9; 32])).unwrap();
    assert_eq!(
        integer(&cluster.one(upload(&large).remove(1))),
        0,
        "it begins anew"
    );
    // What runs stays.
    cluster.one(discard(digest(&tally()))).unwrap();
    cluster.others_agree();
    assert_eq!(integer(&cluster.call("count apples 2")), 2);
}
