use redb::backends::InMemoryBackend;

use super::*;
use crate::store::{Store, Table};

/// A store with these rows, and the digest that a machine would have kept for them.
fn store(rows: &[(&[u8], &str)]) -> Audit {
    let (store, _) = Store::open(InMemoryBackend::new()).unwrap();
    let mut digest = StateDigest::default();
    let transaction = store.database().begin_write().unwrap();
    for (key, value) in rows {
        digest.add(&put(&transaction, key, value));
    }
    let position = Position { term: 1, index: 7 };
    let checkpoint = Checkpoint::new(Some(position), digest);
    database::put_checkpoint(&transaction, &checkpoint).unwrap();
    transaction.commit().unwrap();
    Audit {
        database: store.database(),
    }
}

fn put(transaction: &redb::WriteTransaction, key: &[u8], value: &str) -> [u8; 32] {
    let row = Row {
        revision: Revision::default(),
        value: value.as_bytes().into(),
    };
    let (bytes, hash) = row.encode(key);
    let mut table = database::rows_for_writing(transaction).unwrap();
    table.insert(key, bytes.as_slice()).unwrap();
    hash
}

fn kept_and_all(audit: &Audit) -> ([u8; 32], Sum) {
    match audit.latest().unwrap().answer(&RowsQuestion::Tables) {
        Ok(RowsAnswer::Tables { kept, all, tables }) => {
            assert_eq!(
                tables.iter().map(|(_, sum)| sum.rows).sum::<u64>(),
                all.rows
            );
            (kept, all)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_row_that_changed_under_the_digest_is_seen() {
    let audit = store(&[(b"\x00a", "1"), (b"\x07b", "2"), (b"\x07c", "3")]);
    let (kept, all) = kept_and_all(&audit);
    assert_eq!((kept, 3), (all.digest, all.rows));
    // Whole and well formed, but nobody's command wrote it.
    let transaction = audit.database.begin_write().unwrap();
    put(&transaction, b"\x07b", "other");
    transaction.commit().unwrap();
    let (still, all) = kept_and_all(&audit);
    assert_eq!(still, kept);
    assert_ne!(all.digest, kept);
}

#[test]
fn a_damaged_row_is_told() {
    let audit = store(&[(b"\x07b", "2")]);
    let transaction = audit.database.begin_write().unwrap();
    let mut table = database::rows_for_writing(&transaction).unwrap();
    table
        .insert(b"\x07b".as_slice(), [0; 20].as_slice())
        .unwrap();
    drop(table);
    transaction.commit().unwrap();
    let rows = audit.latest().unwrap();
    let told = rows.answer(&RowsQuestion::Tables);
    assert!(matches!(told, Err(Fault::Corrupt(_))), "{told:?}");
}

#[test]
fn held_rows_stay_as_they_were() {
    let audit = store(&[(b"\x07b", "2")]);
    let held = audit.latest().unwrap();
    let before = held.answer(&RowsQuestion::Tables).unwrap();
    let transaction = audit.database.begin_write().unwrap();
    put(&transaction, b"\x07b", "other");
    transaction.commit().unwrap();
    assert_eq!(held.answer(&RowsQuestion::Tables).unwrap(), before);
}

#[test]
fn pieces_and_their_sums_have_all_rows_once() {
    let keys: Vec<Vec<u8>> = (0..1_000u32)
        .map(|n| [&[7], n.to_be_bytes().as_slice()].concat())
        .collect();
    let rows: Vec<(&[u8], &str)> = keys.iter().map(|key| (key.as_slice(), "v")).collect();
    let held = store(&rows).latest().unwrap();
    let (start, end) = RowsQuestion::table(7).unwrap();
    for each in [0, 1, 10, 999, 1_000, u64::MAX] {
        let question = RowsQuestion::Pieces {
            start: start.clone(),
            end: end.clone(),
            each,
        };
        let Ok(RowsAnswer::Pieces(pieces)) = held.answer(&question) else {
            panic!("no pieces");
        };
        assert!(pieces.len() <= PIECES_MAX);
        assert_eq!(
            pieces.iter().map(|piece| piece.sum.rows).sum::<u64>(),
            1_000
        );
        let question = RowsQuestion::Sums {
            start: start.clone(),
            ends: pieces.iter().map(|piece| piece.end.clone()).collect(),
        };
        let sums: Vec<Sum> = pieces.iter().map(|piece| piece.sum).collect();
        assert_eq!(held.answer(&question).unwrap(), RowsAnswer::Sums(sums));
    }
    // Pages go on behind each other.
    let (mut from, mut found) = (start, Vec::new());
    loop {
        let (start, end) = (from.clone(), end.clone());
        let Ok(RowsAnswer::Page { rows, more }) = held.answer(&RowsQuestion::Page { start, end })
        else {
            panic!("no page");
        };
        found.extend(rows.into_iter().map(|row| row.key));
        if !more {
            break;
        }
        from = [found.last().unwrap().as_slice(), &[0]].concat();
    }
    assert_eq!(found, keys);
}

#[test]
fn questions_that_make_no_sense_have_an_answer() {
    let held = store(&[(b"\x07b", "2")]).latest().unwrap();
    let (start, end) = (vec![9], vec![1]);
    let ends = vec![vec![200], vec![3], Vec::new()];
    let questions = [
        RowsQuestion::Pieces {
            start: start.clone(),
            end: end.clone(),
            each: 1,
        },
        RowsQuestion::Page {
            start: start.clone(),
            end,
        },
        RowsQuestion::Sums {
            start: start.clone(),
            ends,
        },
        RowsQuestion::Sums {
            start,
            ends: Vec::new(),
        },
    ];
    for question in questions {
        held.answer(&question).unwrap();
    }
}

#[test]
fn keys_are_told_in_words() {
    let mut names = Names::default();
    names.plugins_for_tests(3, "kv");
    let data = names.place(&[&[Table::Data as u8, 0, 0, 0, 3], b"k".as_slice()].concat());
    assert_eq!(
        (&*data.table, data.plugin.as_deref(), &*data.key),
        ("data", Some("kv"), &b"k"[..])
    );
    let nobody = names.place(&[Table::Data as u8, 0, 0, 0, 9, b'k']);
    assert_eq!(nobody.plugin.as_deref(), Some("number 9"));
    let session = [
        &[Table::Session as u8],
        5u64.to_be_bytes().as_slice(),
        &6u64.to_be_bytes(),
    ]
    .concat();
    assert_eq!(names.place(&session).key, b"5 command 6");
    let timer = [
        &[Table::TimerByTime as u8],
        9u64.to_be_bytes().as_slice(),
        &[0, 0, 0, 3],
        b"id",
    ]
    .concat();
    assert_eq!(names.place(&timer).key, b"id due 9");
    for table in 0..=u8::MAX {
        names.place(&[table]);
        names.place(&[table, 1, 2, 3]);
    }
    assert_eq!(
        RowsQuestion::tables_in_order(vec![0, 3, 7, 9]),
        [7, 3, 9, 0]
    );
}
