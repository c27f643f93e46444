//! Exactly once: which commands ran before, and what came of them (Ongaro, "Consensus: Bridging
//! Theory and Practice", 2014, section 6.3).
//!
//! All sessions are in memory; what changed becomes rows at each checkpoint: one for each session,
//! each of its commands and each idempotency key. Expiry and forgetting go by the replicated steady
//! clock and replicated limits, so every node forgets the same, and none because a clock was set.
//!
//! A session that is forgotten early costs its client a new one. A key that is forgotten early would
//! let its command run twice, so keys go by age alone, and new ones are refused while there is no
//! room.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use hostd_protocol::{Limits, ONCE_KEY_BYTES_MAX, Once, Outcome, Rejection, RejectionCode, TimeNs};
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
    /// Commands behind `acknowledged` that ran. Each is a row of its own.
    #[serde(skip)]
    ran: BTreeMap<u64, Ran>,
}

/// A command that ran.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Ran {
    /// When it ran; unique, as every command's time is.
    time: TimeNs,
    /// What came of it; `None` once forgotten for lack of room.
    outcome: Option<Outcome>,
    /// The last checkpoint has a row in its place, so that forgetting it means removing that row.
    #[serde(skip)]
    saved: bool,
}

/// A command of a session: the session's number and the command's sequence.
type Place = (u64, u64);

/// An idempotency key with its principal.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct OnceKey {
    principal: String,
    key: String,
}

/// Who keeps an outcome.
#[derive(Clone, Debug)]
enum Holder {
    Session(Place),
    Key(Arc<OnceKey>),
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
    keys: BTreeMap<Arc<OnceKey>, Ran>,
    /// The keys in the order of their times.
    keys_by_age: VecDeque<(TimeNs, Arc<OnceKey>)>,
    /// How many keys each principal has.
    keys_of: BTreeMap<String, u64>,
    /// Kept outcomes, oldest first, with their sizes.
    kept: BTreeMap<TimeNs, (Holder, usize)>,
    kept_bytes: usize,
    /// What differs from the last checkpoint's rows.
    dirty: BTreeSet<u64>,
    dirty_ran: BTreeSet<Place>,
    dirty_keys: BTreeSet<Arc<OnceKey>>,
}

impl Sessions {
    pub(crate) fn load(layers: &Layers) -> Result<Self, Fault> {
        let none = Writes::new();
        let mut sessions = Self::default();
        let (start, end) = Table::Session.bounds();
        for item in layers.scan(&none, Span::new(&start, &end))? {
            let (key, row) = item?;
            sessions.load_session_row(&key[1..], &row.value)?;
        }
        let mut by_age = BTreeMap::new();
        let (start, end) = Table::OnceKey.bounds();
        for item in layers.scan(&none, Span::new(&start, &end))? {
            let (key, mut ran): (OnceKey, Ran) = decode(&item?.1.value)?;
            ran.saved = true;
            let key = Arc::new(key);
            sessions.keep(Holder::Key(Arc::clone(&key)), &ran);
            by_age.insert(ran.time, Arc::clone(&key));
            *sessions.keys_of.entry(key.principal.clone()).or_default() += 1;
            sessions.keys.insert(key, ran);
        }
        sessions.keys_by_age = by_age.into_iter().collect();
        Ok(sessions)
    }

    /// A session's own row comes before those of its commands.
    fn load_session_row(&mut self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        let damaged = || Fault::Corrupt("session row".into());
        let (number, sequence) = key.split_first_chunk().ok_or_else(damaged)?;
        let number = u64::from_be_bytes(*number);
        if sequence.is_empty() {
            self.open.insert(number, decode(value)?);
            return Ok(());
        }
        let sequence = u64::from_be_bytes(sequence.try_into().map_err(|_| damaged())?);
        let mut ran: Ran = decode(value)?;
        ran.saved = true;
        self.keep(Holder::Session((number, sequence)), &ran);
        let session = self.open.get_mut(&number).ok_or_else(damaged)?;
        session.ran.insert(sequence, ran);
        Ok(())
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
            } => {
                if acknowledged >= sequence {
                    let message = "a command cannot acknowledge its own reply";
                    return Err(Rejection::new(RejectionCode::InvalidArgument, message));
                }
                self.admit_session((*session, *sequence), *acknowledged, principal, now, limits)
            }
            Once::Key(key) => self.admit_key(key, principal, now, limits),
        }
    }

    fn admit_session(
        &mut self,
        (number, sequence): Place,
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
            let forgotten = std::mem::replace(&mut session.ran, behind);
            self.forget(number, forgotten);
        }
        let session = &self.open[&number];
        if let Some(ran) = session.ran.get(&sequence) {
            return ran.replay();
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
        if key.len() > ONCE_KEY_BYTES_MAX {
            let message = format!("an idempotency key has at most {ONCE_KEY_BYTES_MAX} bytes");
            return Err(Rejection::new(RejectionCode::InvalidArgument, message));
        }
        self.expire_keys(now, limits);
        let key = OnceKey {
            principal: principal.to_owned(),
            key: key.to_owned(),
        };
        if let Some(ran) = self.keys.get(&key) {
            return ran.replay();
        }
        let own = self.keys_of.get(principal).copied().unwrap_or(0);
        if self.keys.len() as u64 >= limits.once_keys_max || own >= limits.once_keys_max.div_ceil(2)
        {
            return Err(Rejection::new(
                RejectionCode::SessionFull,
                format!(
                    "as many idempotency keys are kept as may be, each for {} seconds; try again \
                     later, or use a session",
                    limits.key_age_ns_max / 1_000_000_000
                ),
            ));
        }
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
        let mut ran = Ran {
            time: now,
            outcome: Some(outcome.clone()),
            saved: false,
        };
        match once {
            Once::Session {
                session, sequence, ..
            } => {
                let place = (*session, *sequence);
                self.keep(Holder::Session(place), &ran);
                if let Some(session) = self.open.get_mut(session) {
                    session.ran.insert(*sequence, ran);
                    self.dirty_ran.insert(place);
                }
            }
            Once::Key(key) => {
                let key = Arc::new(OnceKey {
                    principal: principal.to_owned(),
                    key: key.clone(),
                });
                self.keep(Holder::Key(Arc::clone(&key)), &ran);
                self.keys_by_age.push_back((now, Arc::clone(&key)));
                *self.keys_of.entry(principal.to_owned()).or_default() += 1;
                // Of a key that is used again, the checkpoint may have the use before.
                ran.saved = !self.dirty_keys.insert(Arc::clone(&key));
                self.keys.insert(key, ran);
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

    fn release(&mut self, ran: &Ran) {
        if let Some((_, bytes)) = self.kept.remove(&ran.time) {
            self.kept_bytes -= bytes;
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
                Holder::Session(place) => {
                    let (number, sequence) = place;
                    let session = self.open.get_mut(&number);
                    if let Some(ran) = session.and_then(|held| held.ran.get_mut(&sequence)) {
                        ran.outcome = None;
                        self.dirty_ran.insert(place);
                    }
                }
                Holder::Key(key) => {
                    if let Some(ran) = self.keys.get_mut(&key) {
                        ran.outcome = None;
                        self.dirty_keys.insert(key);
                    }
                }
            }
        }
    }

    /// When all places are taken, frees a sixteenth of them, the least recently used first: one
    /// sort pays for many openings.
    fn make_room(&mut self, limits: &Limits) {
        let count = self.open.len();
        if (count as u64) < limits.sessions_max {
            return;
        }
        let mut by_use: Vec<(TimeNs, u64)> = self
            .open
            .iter()
            .map(|(number, session)| (session.last_used, *number))
            .collect();
        by_use.sort_unstable();
        for (_, number) in by_use.into_iter().take(count / 16 + 1) {
            self.remove_session(number);
        }
    }

    /// Drops what is too old.
    pub(crate) fn sweep(&mut self, now: TimeNs, limits: &Limits) {
        let idle: Vec<u64> = self
            .open
            .iter()
            .filter(|(_, session)| {
                now.saturating_sub(session.last_used) > limits.session_idle_ns_max
            })
            .map(|(number, _)| *number)
            .collect();
        for number in idle {
            self.remove_session(number);
        }
        self.expire_keys(now, limits);
    }

    fn expire_keys(&mut self, now: TimeNs, limits: &Limits) {
        while let Some((time, _)) = self.keys_by_age.front()
            && now.saturating_sub(*time) > limits.key_age_ns_max
            && let Some((_, key)) = self.keys_by_age.pop_front()
        {
            self.remove_key(&key);
        }
    }

    fn remove_key(&mut self, key: &Arc<OnceKey>) {
        let Some(ran) = self.keys.remove(key) else {
            return;
        };
        self.release(&ran);
        mark_removed(&mut self.dirty_keys, Arc::clone(key), &ran);
        if let Some(own) = self.keys_of.get_mut(&key.principal) {
            *own -= 1;
            if *own == 0 {
                self.keys_of.remove(&key.principal);
            }
        }
    }

    fn remove_session(&mut self, number: u64) {
        if let Some(session) = self.open.remove(&number) {
            self.forget(number, session.ran);
            self.dirty.insert(number);
        }
    }

    /// Lets go of commands that a session does not list any more.
    fn forget(&mut self, number: u64, commands: BTreeMap<u64, Ran>) {
        for (sequence, ran) in commands {
            self.release(&ran);
            mark_removed(&mut self.dirty_ran, (number, sequence), &ran);
        }
    }

    /// Puts what changed since the last checkpoint into the state.
    pub(crate) fn save(&mut self, layers: &mut Layers, revision: Revision) -> Result<(), Fault> {
        let mut rows = Writes::new();
        for number in std::mem::take(&mut self.dirty) {
            let row = self.open.get(&number).map(|session| encode(session).into());
            rows.insert(Table::Session.key(&[&number.to_be_bytes()]), row);
        }
        for (number, sequence) in std::mem::take(&mut self.dirty_ran) {
            let session = self.open.get_mut(&number);
            let ran = session.and_then(|session| session.ran.get_mut(&sequence));
            let key = Table::Session.key(&[&number.to_be_bytes(), &sequence.to_be_bytes()]);
            rows.insert(key, ran.map(|ran| encode(ran.saved()).into()));
        }
        for key in std::mem::take(&mut self.dirty_keys) {
            let ran = self.keys.get_mut(&key);
            let row = ran.map(|ran| encode(&(&*key, ran.saved())).into());
            rows.insert(once_key(&key), row);
        }
        layers.merge(rows, revision)
    }
}

impl Ran {
    fn replay(&self) -> Result<Admission, Rejection> {
        self.outcome
            .clone()
            .map(Admission::Replay)
            .ok_or_else(forgotten)
    }

    /// Notes that a checkpoint has it from now on.
    fn saved(&mut self) -> &Self {
        self.saved = true;
        self
    }
}

/// Notes that something is gone. What no checkpoint ever had leaves no trace, so that a client that
/// acknowledges what it gets costs a checkpoint next to nothing.
fn mark_removed<T: Ord>(dirty: &mut BTreeSet<T>, place: T, ran: &Ran) {
    if ran.saved {
        dirty.insert(place);
    } else {
        dirty.remove(&place);
    }
}

/// Rows of idempotency keys go by a hash: both parts come from callers and have any length.
fn once_key(key: &OnceKey) -> Key {
    Table::OnceKey.key(&[blake3::hash(&encode(key)).as_bytes()])
}

fn outcome_bytes(outcome: &Outcome) -> usize {
    match outcome {
        Ok(reply) => reply.size_bytes(),
        Err(rejection) => {
            let own_code = match &rejection.code {
                RejectionCode::Rejected(code) => code.len(),
                _ => 0,
            };
            32 + own_code + rejection.message.len()
        }
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
        let mut layers = Layers::new(store.base().unwrap());
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
}
