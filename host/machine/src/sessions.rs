//! Exactly once: which commands ran before, and what came of them (Ongaro, "Consensus: Bridging
//! Theory and Practice", 2014, section 6.3).
//!
//! All sessions are in memory; those that changed become rows at each checkpoint. Expiry and
//! forgetting go by replicated time and replicated limits, so every node forgets the same.

use std::collections::{BTreeMap, BTreeSet};

use hostd_protocol::{Limits, Once, Outcome, Rejection, RejectionCode, TimeNs};
use serde::{Deserialize, Serialize};

use crate::Fault;
use crate::store::{Key, Layers, Revision, Span, Table, Writes};
use crate::system::{decode, encode};

/// A client's session.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Session {
    principal: String,
    last_used: TimeNs,
    /// The client has all replies up to this sequence.
    acknowledged: u64,
    /// Commands behind `acknowledged` that ran.
    ran: BTreeMap<u64, Ran>,
}

/// A command that ran.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Ran {
    /// When it ran; unique, as every command's time is.
    time: TimeNs,
    /// What came of it; `None` once forgotten for lack of room.
    outcome: Option<Outcome>,
}

/// An idempotency key with its principal.
type OnceKey = (String, String);

/// Who keeps an outcome.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Holder {
    Session { session: u64, sequence: u64 },
    Key { principal: String, key: String },
}

/// What to do with a command.
pub(crate) enum Admission {
    /// It is new: run it, then record the outcome.
    Run,
    /// It ran before: answer this.
    Replay(Outcome),
}

/// Everything that recognises retries.
#[derive(Default)]
pub(crate) struct Sessions {
    open: BTreeMap<u64, Session>,
    keys: BTreeMap<OnceKey, Ran>,
    /// Kept outcomes, oldest first, with their sizes.
    kept: BTreeMap<TimeNs, (Holder, usize)>,
    kept_bytes: usize,
    /// Rows that differ from the last checkpoint's.
    dirty: BTreeSet<u64>,
    dirty_keys: BTreeSet<OnceKey>,
}

impl Sessions {
    pub(crate) fn load(layers: &Layers) -> Result<Self, Fault> {
        let none = Writes::new();
        let mut sessions = Self::default();
        let (start, end) = Table::Session.bounds();
        for item in layers.scan(
            &none,
            Span {
                start: &start,
                end: &end,
                reverse: false,
            },
        )? {
            let (key, row) = item?;
            let number = key[1..]
                .first_chunk()
                .ok_or_else(|| Fault::Corrupt("session row".into()))?;
            let number = u64::from_be_bytes(*number);
            let session: Session = decode(&row.value)?;
            for (sequence, ran) in &session.ran {
                sessions.keep(
                    Holder::Session {
                        session: number,
                        sequence: *sequence,
                    },
                    ran,
                );
            }
            sessions.open.insert(number, session);
        }
        let (start, end) = Table::OnceKey.bounds();
        for item in layers.scan(
            &none,
            Span {
                start: &start,
                end: &end,
                reverse: false,
            },
        )? {
            let ((principal, key), ran): (OnceKey, Ran) = decode(&item?.1.value)?;
            let holder = Holder::Key {
                principal: principal.clone(),
                key: key.clone(),
            };
            sessions.keep(holder, &ran);
            sessions.keys.insert((principal, key), ran);
        }
        Ok(sessions)
    }

    /// Opens a session under a number that was never used before.
    pub(crate) fn open(&mut self, number: u64, principal: &str, now: TimeNs, limits: &Limits) {
        self.make_room(limits);
        let session = Session {
            principal: principal.to_owned(),
            last_used: now,
            acknowledged: 0,
            ran: BTreeMap::new(),
        };
        self.open.insert(number, session);
        self.dirty.insert(number);
    }

    /// Ends a session. Ending one that is gone is no error.
    pub(crate) fn close(&mut self, number: u64, principal: &str) {
        if self
            .open
            .get(&number)
            .is_some_and(|session| session.principal == principal)
        {
            self.remove_session(number);
        }
    }

    /// Decides whether a command runs.
    pub(crate) fn admit(
        &mut self,
        once: &Once,
        principal: &str,
        now: TimeNs,
        limits: &Limits,
    ) -> Result<Admission, Rejection> {
        match once {
            Once::Session {
                session,
                sequence,
                acknowledged,
            } => self.admit_session(*session, *sequence, *acknowledged, principal, now, limits),
            Once::Key(key) => self.admit_key(key, principal, now, limits),
        }
    }

    fn admit_session(
        &mut self,
        number: u64,
        sequence: u64,
        acknowledged: u64,
        principal: &str,
        now: TimeNs,
        limits: &Limits,
    ) -> Result<Admission, Rejection> {
        let expired = || {
            Rejection::new(
                RejectionCode::SessionExpired,
                format!(
                    "session {number} is unknown or was idle for too long; whether this command ran \
                     cannot be told. Open a new session"
                ),
            )
        };
        let session = self
            .open
            .get_mut(&number)
            .filter(|session| session.principal == principal)
            .ok_or_else(expired)?;
        if now.saturating_sub(session.last_used) > limits.session_idle_ns_max {
            self.remove_session(number);
            return Err(expired());
        }
        session.last_used = now;
        self.dirty.insert(number);
        if acknowledged > session.acknowledged {
            session.acknowledged = acknowledged;
            let behind = session.ran.split_off(&(acknowledged + 1));
            for ran in std::mem::replace(&mut session.ran, behind).into_values() {
                release(&mut self.kept, &mut self.kept_bytes, ran.time);
            }
        }
        if let Some(ran) = session.ran.get(&sequence) {
            return ran
                .outcome
                .clone()
                .map(Admission::Replay)
                .ok_or_else(forgotten);
        }
        if sequence <= session.acknowledged {
            return Err(forgotten());
        }
        if session.ran.len() as u64 >= limits.session_window
            || sequence - session.acknowledged > limits.session_window
        {
            return Err(Rejection::new(
                RejectionCode::SessionFull,
                format!(
                    "more than {} commands of session {number} are not acknowledged",
                    limits.session_window
                ),
            ));
        }
        Ok(Admission::Run)
    }

    fn admit_key(
        &mut self,
        key: &str,
        principal: &str,
        now: TimeNs,
        limits: &Limits,
    ) -> Result<Admission, Rejection> {
        let entry = (principal.to_owned(), key.to_owned());
        if let Some(ran) = self.keys.get(&entry) {
            if now.saturating_sub(ran.time) <= limits.session_idle_ns_max {
                return ran
                    .outcome
                    .clone()
                    .map(Admission::Replay)
                    .ok_or_else(forgotten);
            }
            self.remove_key(&entry);
        }
        self.make_room(limits);
        Ok(Admission::Run)
    }

    /// Keeps the outcome of an admitted command.
    pub(crate) fn record(
        &mut self,
        once: &Once,
        principal: &str,
        outcome: &Outcome,
        now: TimeNs,
        limits: &Limits,
    ) {
        let ran = Ran {
            time: now,
            outcome: Some(outcome.clone()),
        };
        match once {
            Once::Session {
                session, sequence, ..
            } => {
                let holder = Holder::Session {
                    session: *session,
                    sequence: *sequence,
                };
                self.keep(holder, &ran);
                if let Some(session) = self.open.get_mut(session) {
                    session.ran.insert(*sequence, ran);
                }
            }
            Once::Key(key) => {
                let entry = (principal.to_owned(), key.clone());
                self.keep(
                    Holder::Key {
                        principal: entry.0.clone(),
                        key: entry.1.clone(),
                    },
                    &ran,
                );
                self.dirty_keys.insert(entry.clone());
                self.keys.insert(entry, ran);
            }
        }
        self.forget_oldest(limits);
    }

    fn keep(&mut self, holder: Holder, ran: &Ran) {
        if let Some(outcome) = &ran.outcome {
            let bytes = outcome_bytes(outcome);
            self.kept.insert(ran.time, (holder, bytes));
            self.kept_bytes += bytes;
        }
    }

    /// Drops the oldest outcomes over the limit. That their commands ran stays known.
    fn forget_oldest(&mut self, limits: &Limits) {
        while self.kept_bytes as u64 > limits.session_reply_bytes_max {
            let Some((_, (holder, bytes))) = self.kept.pop_first() else {
                break;
            };
            self.kept_bytes -= bytes;
            match holder {
                Holder::Session { session, sequence } => {
                    let ran = self
                        .open
                        .get_mut(&session)
                        .and_then(|held| held.ran.get_mut(&sequence));
                    if let Some(ran) = ran {
                        ran.outcome = None;
                        self.dirty.insert(session);
                    }
                }
                Holder::Key { principal, key } => {
                    let entry = (principal, key);
                    if let Some(ran) = self.keys.get_mut(&entry) {
                        ran.outcome = None;
                        self.dirty_keys.insert(entry);
                    }
                }
            }
        }
    }

    /// When all places are taken, frees a sixteenth of them, the least recently used first: one
    /// sort pays for many openings.
    fn make_room(&mut self, limits: &Limits) {
        let count = self.open.len() + self.keys.len();
        if (count as u64) < limits.sessions_max {
            return;
        }
        let mut by_use: Vec<(TimeNs, Option<u64>, Option<OnceKey>)> = self
            .open
            .iter()
            .map(|(number, session)| (session.last_used, Some(*number), None))
            .chain(
                self.keys
                    .iter()
                    .map(|(entry, ran)| (ran.time, None, Some(entry.clone()))),
            )
            .collect();
        by_use.sort();
        for (_, session, key) in by_use.into_iter().take(count / 16 + 1) {
            if let Some(number) = session {
                self.remove_session(number);
            }
            if let Some(entry) = key {
                self.remove_key(&entry);
            }
        }
    }

    /// Drops what was idle for too long.
    pub(crate) fn sweep(&mut self, now: TimeNs, limits: &Limits) {
        let idle = |last_used: TimeNs| now.saturating_sub(last_used) > limits.session_idle_ns_max;
        let sessions: Vec<u64> = self
            .open
            .iter()
            .filter(|(_, session)| idle(session.last_used))
            .map(|(number, _)| *number)
            .collect();
        for number in sessions {
            self.remove_session(number);
        }
        let keys: Vec<OnceKey> = self
            .keys
            .iter()
            .filter(|(_, ran)| idle(ran.time))
            .map(|(entry, _)| entry.clone())
            .collect();
        for entry in &keys {
            self.remove_key(entry);
        }
    }

    fn remove_session(&mut self, number: u64) {
        if let Some(session) = self.open.remove(&number) {
            for ran in session.ran.into_values() {
                release(&mut self.kept, &mut self.kept_bytes, ran.time);
            }
            self.dirty.insert(number);
        }
    }

    fn remove_key(&mut self, entry: &OnceKey) {
        if let Some(ran) = self.keys.remove(entry) {
            release(&mut self.kept, &mut self.kept_bytes, ran.time);
            self.dirty_keys.insert(entry.clone());
        }
    }

    /// Puts what changed since the last checkpoint into the state.
    pub(crate) fn save(&mut self, layers: &mut Layers, revision: Revision) {
        for number in std::mem::take(&mut self.dirty) {
            let row = self.open.get(&number).map(|session| encode(session).into());
            layers.set(Table::Session.key(&[&number.to_be_bytes()]), row, revision);
        }
        for entry in std::mem::take(&mut self.dirty_keys) {
            let row = self
                .keys
                .get(&entry)
                .map(|ran| encode(&(&entry, ran)).into());
            layers.set(once_key(&entry), row, revision);
        }
    }
}

/// Rows of idempotency keys go by a hash: both parts come from callers and have any length.
fn once_key(entry: &OnceKey) -> Key {
    Table::OnceKey.key(&[blake3::hash(&encode(entry)).as_bytes()])
}

fn release(kept: &mut BTreeMap<TimeNs, (Holder, usize)>, kept_bytes: &mut usize, time: TimeNs) {
    if let Some((_, bytes)) = kept.remove(&time) {
        *kept_bytes -= bytes;
    }
}

fn outcome_bytes(outcome: &Outcome) -> usize {
    match outcome {
        Ok(reply) => reply.size_bytes(),
        Err(rejection) => 16 + rejection.message.len(),
    }
}

fn forgotten() -> Rejection {
    Rejection::new(
        RejectionCode::ReplyForgotten,
        "this command ran before, but its reply is no longer kept",
    )
}

#[cfg(test)]
mod tests {
    use hostd_protocol::Reply;

    use super::*;

    const LIMITS: fn() -> Limits = || Limits {
        session_idle_ns_max: 1_000,
        sessions_max: 4,
        session_window: 3,
        session_reply_bytes_max: 100,
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
            code(run(&mut sessions, &once(1, 1), 12)),
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
        let large = Ok(Reply::Bytes(vec![0; 60]));
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
            run(&mut sessions, &key, 2_000),
            Ok(Reply::Integer(2_000)),
            "expired by time"
        );
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
}
