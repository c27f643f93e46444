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

mod admit;
mod keep;
mod rows;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use hostd_protocol::{Limits, Outcome, TimeNs};
use serde::{Deserialize, Serialize};

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
}
