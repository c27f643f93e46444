//! What sessions promise, on their own.

use hostd_protocol::{Limits, Once, Outcome, Rejection, RejectionCode, Reply, TimeNs};

use super::{Admission, Sessions};
use crate::store::{Layers, Revision};

const LIMITS: fn() -> Limits = || Limits {
    session_idle_ns_max: 1_000,
    sessions_max: 4,
    key_age_ns_max: 500,
    once_keys_max: 6,
    session_window: 3,
    session_reply_bytes_max: 250,
    ..Limits::default()
};

fn once(sequence: u64, acknowledged: u64) -> Once {
    Once::Session {
        session: 1,
        sequence,
        acknowledged,
    }
}

/// Runs a command that answers its sequence, as the machine would.
fn run(sessions: &mut Sessions, once: &Once, now: TimeNs) -> Outcome {
    match sessions.admit(once, "ann", now, &LIMITS()) {
        Ok(Admission::Replay(outcome)) => outcome,
        Ok(Admission::Run) => {
            let outcome = Ok(Reply::Integer(now as i64));
            sessions.record(once, "ann", &outcome, now, &LIMITS());
            outcome
        }
        Err(rejection) => Err(rejection),
    }
}

fn opened() -> Sessions {
    let mut sessions = Sessions::default();
    sessions.open(1, "ann", 1, &LIMITS());
    sessions
}

fn code(outcome: Outcome) -> RejectionCode {
    outcome.unwrap_err().code
}

#[test]
fn a_retry_gets_the_first_outcome() {
    let mut sessions = opened();
    assert_eq!(run(&mut sessions, &once(1, 0), 10), Ok(Reply::Integer(10)));
    assert_eq!(run(&mut sessions, &once(2, 0), 11), Ok(Reply::Integer(11)));
    assert_eq!(run(&mut sessions, &once(1, 0), 12), Ok(Reply::Integer(10)));
}

#[test]
fn a_rejection_is_kept_for_retries_too() {
    let mut sessions = opened();
    let rejected = Err(Rejection::new(RejectionCode::Trapped, "once"));
    assert!(matches!(
        sessions.admit(&once(1, 0), "ann", 5, &LIMITS()),
        Ok(Admission::Run)
    ));
    sessions.record(&once(1, 0), "ann", &rejected, 5, &LIMITS());
    assert_eq!(run(&mut sessions, &once(1, 0), 6), rejected);
}

#[test]
fn what_the_client_acknowledged_is_forgotten_and_never_runs_again() {
    let mut sessions = opened();
    run(&mut sessions, &once(1, 0), 10).unwrap();
    run(&mut sessions, &once(2, 1), 11).unwrap();
    assert_eq!(
        code(run(&mut sessions, &once(1, 0), 12)),
        RejectionCode::ReplyForgotten
    );
    assert_eq!(sessions.kept.len(), 1);
}

#[test]
fn nobody_else_uses_a_session() {
    let mut sessions = opened();
    let stolen = sessions.admit(&once(1, 0), "bob", 5, &LIMITS());
    assert_eq!(
        stolen.err().map(|rejection| rejection.code),
        Some(RejectionCode::SessionExpired)
    );
    sessions.close(1, "bob");
    run(&mut sessions, &once(1, 0), 6).unwrap();
}

#[test]
fn an_idle_session_expires_by_replicated_time() {
    let mut sessions = opened();
    run(&mut sessions, &once(1, 0), 500).unwrap();
    run(&mut sessions, &once(2, 0), 1_500).unwrap();
    assert_eq!(
        code(run(&mut sessions, &once(3, 0), 2_501)),
        RejectionCode::SessionExpired
    );
    assert_eq!(
        code(run(&mut sessions, &once(2, 0), 2_502)),
        RejectionCode::SessionExpired
    );
    assert!(sessions.kept.is_empty() && sessions.kept_bytes == 0);
}

#[test]
fn a_window_bounds_what_is_not_acknowledged() {
    let mut sessions = opened();
    for sequence in 1..=3 {
        run(&mut sessions, &once(sequence, 0), 10 + sequence).unwrap();
    }
    assert_eq!(
        code(run(&mut sessions, &once(4, 0), 20)),
        RejectionCode::SessionFull
    );
    run(&mut sessions, &once(4, 1), 21).unwrap();
    assert_eq!(
        code(run(&mut sessions, &once(9, 1), 22)),
        RejectionCode::SessionFull
    );
}

#[test]
fn old_replies_are_forgotten_for_room_but_their_commands_never_run_again() {
    let mut sessions = opened();
    let large = Ok(Reply::Bytes(vec![0; 150]));
    for sequence in 1..=2 {
        assert!(matches!(
            sessions.admit(&once(sequence, 0), "ann", sequence, &LIMITS()),
            Ok(Admission::Run)
        ));
        sessions.record(&once(sequence, 0), "ann", &large, sequence, &LIMITS());
    }
    assert_eq!(
        code(run(&mut sessions, &once(1, 0), 5)),
        RejectionCode::ReplyForgotten
    );
    assert_eq!(run(&mut sessions, &once(2, 0), 6), large);
}

#[test]
fn a_key_works_like_a_session_of_one_command() {
    let mut sessions = Sessions::default();
    let key = Once::Key("k".into());
    assert_eq!(run(&mut sessions, &key, 10), Ok(Reply::Integer(10)));
    assert_eq!(run(&mut sessions, &key, 11), Ok(Reply::Integer(10)));
    assert!(matches!(
        sessions.admit(&key, "bob", 12, &LIMITS()),
        Ok(Admission::Run)
    ));
    assert_eq!(
        run(&mut sessions, &key, 511),
        Ok(Reply::Integer(511)),
        "expired by time"
    );
}

#[test]
fn no_key_is_forgotten_before_its_time_however_many_come() {
    let mut sessions = Sessions::default();
    let key = |number: u64| Once::Key(number.to_string());
    // One principal has half of the places.
    for number in 1..=3 {
        run(&mut sessions, &key(number), number).unwrap();
    }
    assert_eq!(
        code(run(&mut sessions, &key(4), 10)),
        RejectionCode::SessionFull
    );
    assert_eq!(run(&mut sessions, &key(1), 11), Ok(Reply::Integer(1)));
    let bob = |sessions: &mut Sessions, number, now| {
        let outcome = Ok(Reply::Ok);
        match sessions.admit(&key(number), "bob", now, &LIMITS()) {
            Ok(_) => {
                sessions.record(&key(number), "bob", &outcome, now, &LIMITS());
                outcome
            }
            Err(rejection) => Err(rejection),
        }
    };
    for number in 1..=3 {
        bob(&mut sessions, number, 20 + number).unwrap();
    }
    for number in 1..=9 {
        sessions.open(number, "ann", 30 + number, &LIMITS());
    }
    assert_eq!(run(&mut sessions, &key(2), 501), Ok(Reply::Integer(2)));
    // The first is past its time and makes room for one.
    run(&mut sessions, &key(4), 502).unwrap();
    assert_eq!(
        code(run(&mut sessions, &key(5), 502)),
        RejectionCode::SessionFull
    );
    // A third principal has none yet, and finds no room either.
    let eve = sessions.admit(&key(1), "eve", 502, &LIMITS());
    assert!(matches!(eve, Err(full) if full.code == RejectionCode::SessionFull));
    assert_eq!(sessions.keys.len(), 6);
    sessions.sweep(2_000, &LIMITS());
    assert!(sessions.keys.is_empty() && sessions.keys_of.is_empty());
    assert!(sessions.keys_by_age.is_empty() && sessions.kept_bytes == 0);
}

#[test]
fn keys_and_acknowledgements_are_checked() {
    let mut sessions = opened();
    let long = Once::Key("k".repeat(257));
    for once in [long, once(1, 1), once(1, 2)] {
        assert_eq!(
            code(run(&mut sessions, &once, 5)),
            RejectionCode::InvalidArgument
        );
    }
    run(&mut sessions, &Once::Key("k".repeat(256)), 6).unwrap();
}

#[test]
fn what_was_acknowledged_before_a_checkpoint_leaves_no_row() {
    let (store, _) = crate::store::Store::open(redb::backends::InMemoryBackend::new()).unwrap();
    let mut layers = Layers::new(store.base().unwrap().into());
    let mut sessions = opened();
    for sequence in 1..=100 {
        run(&mut sessions, &once(sequence, sequence - 1), 10 + sequence).unwrap();
    }
    assert_eq!(sessions.dirty_ran.len(), 1);
    sessions.save(&mut layers, Revision::default()).unwrap();
    assert_eq!(layers.active.len(), 2);
    layers.freeze();
    run(&mut sessions, &once(101, 100), 200).unwrap();
    sessions.save(&mut layers, Revision::default()).unwrap();
    let removed = layers.active.values().filter(|row| row.is_none()).count();
    assert_eq!((layers.active.len(), removed), (3, 1));
    let loaded = Sessions::load(&layers).unwrap();
    assert_eq!(loaded.open[&1].ran.keys().collect::<Vec<_>>(), [&101]);
    assert_eq!(loaded.kept_bytes, sessions.kept_bytes);
}

#[test]
fn the_least_recently_used_makes_room() {
    let mut sessions = Sessions::default();
    for number in 1..=4 {
        sessions.open(number, "ann", number, &LIMITS());
    }
    run(&mut sessions, &once(1, 0), 10).unwrap();
    sessions.open(5, "ann", 11, &LIMITS());
    assert!(sessions.open.contains_key(&1) && !sessions.open.contains_key(&2));
    assert_eq!(sessions.open.len(), 4);
}
