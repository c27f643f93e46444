use std::sync::{Arc, OnceLock};

use hostd_machine::{Engine, FoundRow, Input, Machine, Position};
use hostd_protocol::{Batch, Command, Entry, Limits, NodeId};
use redb::backends::InMemoryBackend;

use super::*;

impl Rows for hostd_machine::Rows {
    async fn ask(&self, question: RowsQuestion) -> Result<RowsAnswer, Lost> {
        self.answer(&question)
            .map_err(|fault| Lost::Damaged(fault.to_string()))
    }
}

/// A state with a session for each principal.
fn state(principals: impl IntoIterator<Item = String>) -> hostd_machine::Rows {
    static ENGINE: OnceLock<Arc<Engine>> = OnceLock::new();
    let engine = Arc::clone(ENGINE.get_or_init(|| Arc::new(Engine::new().unwrap())));
    let mut machine = Machine::open(engine, InMemoryBackend::new()).unwrap();
    let mut commands = vec![Command::Found {
        cluster: "test".into(),
        engine: Engine::identity(),
        limits: Limits::default(),
    }];
    let sessions = principals.into_iter();
    commands.extend(sessions.map(|principal| Command::OpenSession { principal }));
    let batch = Entry::Batch(Batch {
        time: 1,
        seed: [0; 16],
        commands,
    });
    let checkpoint = Entry::Checkpoint {
        time: 2,
        previous: None,
    };
    for (index, entry) in (1..).zip([batch, checkpoint]) {
        let position = Position { term: 1, index };
        let applied = machine.apply(position, Input::Entry(entry)).unwrap();
        if let Some(flush) = applied.flush {
            machine.flushed(flush.run().unwrap());
        }
    }
    machine.audit().latest().unwrap()
}

async fn tables(rows: &hostd_machine::Rows) -> Tables {
    match rows.ask(RowsQuestion::Tables).await {
        Ok(RowsAnswer::Tables { kept, all, tables }) => {
            assert_eq!(kept, all.digest, "the kept digest is another one");
            Tables {
                kept,
                all,
                each: tables,
            }
        }
        other => panic!("{other:?}"),
    }
}

/// Sessions that a state has.
const SESSIONS: u64 = 3_000;
/// Table of sessions.
const TABLE: u8 = 3;

async fn first(right: &hostd_machine::Rows, wrong: &hostd_machine::Rows) -> Option<search::Found> {
    let (start, end) = RowsQuestion::table(TABLE).unwrap();
    let sums = tables(right).await;
    let rows = sums.each.iter().find(|(table, _)| *table == TABLE);
    first_difference(right, wrong, start, end, rows.unwrap().1.rows)
        .await
        .unwrap()
}

fn session(row: Option<&FoundRow>) -> Option<String> {
    let place = row.map(|row| Names::default().place(&row.key))?;
    Some(String::from_utf8(place.key).unwrap())
}

#[tokio::test]
async fn the_first_row_that_differs_is_found_wherever_it_is() {
    let same = |n: u64| format!("client {n}");
    let right = state((1..=SESSIONS).map(same));
    assert_eq!(
        tables(&right)
            .await
            .each
            .iter()
            .find(|t| t.0 == TABLE)
            .unwrap()
            .1
            .rows,
        SESSIONS
    );
    for other in [1, 2, 46, 47, 48, 1_500, 2_999, 3_000] {
        let wrong = state((1..=SESSIONS).map(|n| {
            // Whatever follows differs as well.
            if n >= other {
                format!("another {n}")
            } else {
                same(n)
            }
        }));
        let found = first(&right, &wrong).await.unwrap();
        let told = (session(found.right.as_ref()), session(found.wrong.as_ref()));
        let number = first_session() + other - 1;
        assert_eq!(told, (Some(number.to_string()), Some(number.to_string())));
        assert_eq!(
            found.told(&Names::default()).kind,
            hostd_protocol::DifferenceKind::Value
        );
    }
    assert_eq!(first(&right, &state((1..=SESSIONS).map(same))).await, None);
}

/// The number that the first session of a cluster has.
fn first_session() -> u64 {
    1
}

#[tokio::test]
async fn rows_that_only_one_side_has_are_found() {
    let same = |n: u64| format!("client {n}");
    let right = state((1..=SESSIONS).map(same));
    for others in [SESSIONS - 1, 2, 0] {
        let fewer = state((1..=others).map(same));
        let found = first(&right, &fewer).await.unwrap();
        assert_eq!(
            session(found.right.as_ref()),
            Some((first_session() + others).to_string())
        );
        assert_eq!(
            found.told(&Names::default()).kind,
            hostd_protocol::DifferenceKind::Missing
        );
    }
    let more = state((1..=SESSIONS + 700).map(same));
    let found = first(&right, &more).await.unwrap();
    assert_eq!(found.right, None);
    assert_eq!(
        session(found.wrong.as_ref()),
        Some((first_session() + SESSIONS).to_string())
    );
    assert_eq!(
        found.told(&Names::default()).kind,
        hostd_protocol::DifferenceKind::Extra
    );
}

#[test]
fn most_of_all_members_are_right() {
    let told = |digests: &[(NodeId, u8)]| -> Vec<(NodeId, Sum)> {
        let sum = |digest| Sum {
            rows: 1,
            digest: [digest; 32],
        };
        digests
            .iter()
            .map(|(id, digest)| (*id, sum(*digest)))
            .collect()
    };
    let judged = |digests: &[(NodeId, u8)], members| {
        let judgement = judge(told(digests), members);
        let right: Vec<NodeId> = judgement.right.into_iter().collect();
        (judgement.majority, right, judgement.reference)
    };
    assert_eq!(
        judged(&[(1, 7), (2, 7), (3, 7)], 3),
        (true, vec![1, 2, 3], Some(1))
    );
    assert_eq!(
        judged(&[(1, 8), (2, 7), (3, 7)], 3),
        (true, vec![2, 3], Some(2))
    );
    // Who does not answer may have either.
    assert_eq!(judged(&[(1, 8), (2, 7)], 3), (false, vec![], Some(1)));
    assert_eq!(
        judged(&[(1, 8), (2, 7), (3, 7)], 5),
        (false, vec![], Some(2))
    );
    assert_eq!(
        judged(&[(1, 7), (2, 7), (3, 7), (4, 8)], 5),
        (true, vec![1, 2, 3], Some(1))
    );
    // Half is not most.
    assert_eq!(judged(&[(1, 8), (2, 7)], 2), (false, vec![], Some(1)));
    // Few who agree are no reason for alarm.
    assert_eq!(judged(&[(2, 7)], 3), (false, vec![2], Some(2)));
    assert_eq!(judged(&[], 3), (false, vec![], None));
}
