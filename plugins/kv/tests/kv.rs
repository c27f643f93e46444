//! Keys and values, in the real machine.

use std::time::Duration;

use hostd_testing::{Host, Reply, host};

#[test]
fn scripts() {
    hostd_testing::scripts!("tests/scripts");
}

fn integer(host: &mut Host, command: &str, arguments: &[&str]) -> i64 {
    match host.call(command, arguments) {
        Ok(Reply::Integer(number)) => number,
        other => panic!("{command} {arguments:?}: {other:?}"),
    }
}

/// Takes one step of a walk: the cursor to go on with, and the keys.
fn scan(host: &mut Host, cursor: &str, count: &str) -> (String, Vec<String>) {
    let text = |reply| match reply {
        Reply::Bytes(bytes) => String::from_utf8(bytes).unwrap(),
        other => panic!("{other:?}"),
    };
    let Ok(Reply::Array(parts)) = host.call("scan", &[cursor, "COUNT", count]) else {
        panic!("a step is two things");
    };
    let [cursor, Reply::Array(keys)] = <[Reply; 2]>::try_from(parts).unwrap() else {
        panic!("the second is the keys");
    };
    (text(cursor), keys.into_iter().map(text).collect())
}

#[test]
fn a_walk_meets_every_key_that_stays_exactly_once_however_the_others_change() {
    let mut host = host!();
    let stays = |key: &str| key.starts_with("stays");
    for index in 0..50 {
        host.call("set", &[&format!("stays:{index}"), "x"]).unwrap();
        host.call("set", &[&format!("goes:{index}"), "x"]).unwrap();
    }
    let mut met = Vec::new();
    let mut cursor = "0".to_string();
    for step in 0.. {
        assert!(step < 50, "the walk ends");
        let (next, keys) = scan(&mut host, &cursor, "7");
        met.extend(keys.into_iter().filter(|key| stays(key)));
        if next == "0" {
            break;
        }
        cursor = next;
        // Meanwhile keys are added faster than the walk goes, removed, written and renamed onto.
        for index in 0..10 {
            host.call("set", &[&format!("comes:{step}:{index}"), "x"])
                .unwrap();
        }
        host.call("del", &[&format!("goes:{step}")]).unwrap();
        host.call("set", &[&format!("stays:{step}"), "y"]).unwrap();
        host.call(
            "rename",
            &[&format!("comes:{step}:0"), &format!("stays:{}", step + 1)],
        )
        .unwrap();
    }
    let mut unique = met.clone();
    unique.sort();
    unique.dedup();
    assert_eq!((met.len(), unique.len()), (50, 50));
}

#[test]
fn a_thousand_keys_with_one_deadline_are_removed_by_themselves() {
    let mut host = host!();
    for index in 0..1000 {
        host.call("set", &[&format!("k{index}"), "v", "EXAT", "1735689660"])
            .unwrap();
    }
    host.call("set", &["stays", "v"]).unwrap();
    assert_eq!(integer(&mut host, "dbsize", &[]), 1001);
    // More than one wake removes at a time: the timer fires again at once.
    assert_eq!(host.advance(Duration::from_mins(1)), 2);
    assert_eq!(integer(&mut host, "dbsize", &[]), 1);
    assert_eq!(host.next_timer(), None);
}

#[test]
fn an_emptied_store_leaves_only_its_totals() {
    let mut one = host!();
    one.call("set", &["a", "1", "EX", "10"]).unwrap();
    one.call("mset", &["b", "2", "c", "3"]).unwrap();
    let mut other = host!();
    other.call("mset", &["x", "1", "y", "2"]).unwrap();
    other.call("set", &["z", "1"]).unwrap();

    one.advance(Duration::from_secs(10));
    one.call("getdel", &["b"]).unwrap();
    one.call("rename", &["c", "d"]).unwrap();
    one.call("del", &["d"]).unwrap();
    for host in [&mut one, &mut other] {
        host.call("flushdb", &[]).unwrap();
        assert_eq!(integer(host, "dbsize", &[]), 0);
        assert_eq!(host.call("keys", &["*"]), Ok(Reply::Array(vec![])));
        assert_eq!(scan(host, "0", "100"), ("0".into(), vec![]));
    }
}

#[test]
fn an_idle_host_has_no_timers() {
    let mut host = host!();
    host.call("mset", &["a", "1", "b", "2"]).unwrap();
    assert_eq!(host.next_timer(), None);
    host.call("expire", &["a", "10"]).unwrap();
    assert!(host.next_timer().is_some());
    // The deadline is gone, the timer not yet: it fires once, and finds nothing.
    host.call("persist", &["a"]).unwrap();
    assert_eq!(host.advance(Duration::from_secs(1000)), 1);
    assert_eq!(host.next_timer(), None);
    assert_eq!(integer(&mut host, "exists", &["a", "b"]), 2);
}

#[test]
fn large_values_can_be_removed_and_overwritten_together() {
    let mut host = host!();
    let large = vec![b'v'; 7 << 20];
    let keys: Vec<String> = (0..12).map(|index| format!("large:{index}")).collect();
    for key in &keys {
        host.call_bytes("set", &[key.as_bytes(), &large]).unwrap();
    }
    let arguments: Vec<&str> = keys.iter().map(String::as_str).collect();
    assert_eq!(integer(&mut host, "exists", &arguments), 12);
    let pairs: Vec<&str> = keys
        .iter()
        .take(6)
        .flat_map(|key| [key.as_str(), "small"])
        .collect();
    assert_eq!(host.call("mset", &pairs), Ok(Reply::Ok));
    assert_eq!(integer(&mut host, "del", &arguments), 12);
    assert_eq!(integer(&mut host, "dbsize", &[]), 0);
}
