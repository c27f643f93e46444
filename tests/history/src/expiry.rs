//! Expiry: a key that is set to live for a time is there until its deadline, and then no more.
//!
//! All times are nanoseconds on the replicated clock, by which deadlines are set and reads are
//! evaluated. What is known of an operation's time is a range; the narrower, the more is found.
//! Reads must be linearizable: a stale read may show an older state.

use crate::operation::Operation;

/// What is asked of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The key.
    pub key: Vec<u8>,
    /// What to do with it.
    pub action: Action,
    /// A time that the replicated clock had certainly reached when the operation was invoked; 0
    /// when nothing is known.
    pub since_ns: u64,
}

/// What can be done with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Sets the value.
    Set {
        /// The value; best one that is set only once.
        value: Vec<u8>,
        /// How long after the operation's time the key lives; `None` for ever.
        time_to_live_ns: Option<u64>,
    },
    /// Removes the key.
    Delete,
    /// Reads the value.
    Get,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The replicated time at which the operation was evaluated is certainly in this range.
    pub time: Span,
    /// What a read found; `None` for no key, and for writes.
    pub found: Option<Vec<u8>>,
}

/// A range of replicated time, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Not before.
    pub low_ns: u64,
    /// Not after.
    pub high_ns: u64,
}

/// A read whose answer no write explains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// In which way.
    pub kind: Kind,
    /// The read.
    pub read: Operation<Input, Output>,
    /// All writes whose effect it may have seen.
    pub writes: Vec<Operation<Input, Output>>,
}

/// In which way an answer is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The key is gone, before the deadline of everything it may have been set to.
    Early,
    /// The key still has its value, after the deadline.
    Late,
    /// The key has a value that no write left there.
    Foreign,
}

/// Checks each read against the writes whose effect it may have seen.
pub fn check(history: &[Operation<Input, Output>]) -> Result<(), Box<Violation>> {
    let _ = history;
    todo!()
}
