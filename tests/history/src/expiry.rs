//! Expiry: a key that is set to live for a time is there until its deadline, and then no more.
//!
//! All times are nanoseconds on the replicated clock, by which deadlines are set and reads are
//! evaluated. What is known of an operation's time is a range; the narrower, the more is found.
//! Reads must be linearizable: a stale read may show an older state.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::{self, Debug, Display, Formatter};

use crate::operation::{Operation, Stamp};

/// What is asked of one key.
#[derive(Clone, PartialEq, Eq)]
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
#[derive(Clone, PartialEq, Eq)]
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
///
/// Finds nothing wrong that may be right: an answer passes when one of those writes, at one of the
/// times it may have had, explains it.
pub fn check(history: &[Operation<Input, Output>]) -> Result<(), Box<Violation>> {
    let mut by_key: BTreeMap<&[u8], Vec<&Operation<Input, Output>>> = BTreeMap::new();
    for operation in history {
        by_key
            .entry(&operation.input.key)
            .or_default()
            .push(operation);
    }
    for operations in by_key.into_values() {
        let (reads, writes): (Vec<_>, Vec<_>) = operations
            .into_iter()
            .partition(|operation| operation.input.action == Action::Get);
        for read in reads {
            check_read(read, &writes)?;
        }
    }
    Ok(())
}

fn check_read(
    read: &Operation<Input, Output>,
    writes: &[&Operation<Input, Output>],
) -> Result<(), Box<Violation>> {
    let Some(outcome) = &read.outcome else {
        return Ok(());
    };
    let time = outcome.output.time;
    let (seen, is_first) = visible(writes, read, outcome.returned);
    let kind = match &outcome.output.found {
        None => {
            let may_be_gone =
                is_first || seen.iter().any(|write| life(write, None).may_be_over(time));
            (!may_be_gone).then_some(Kind::Early)
        }
        Some(value) => {
            let mut lives = seen
                .iter()
                .map(|write| life(write, Some(value)))
                .filter(|life| life.sets_it)
                .peekable();
            if lives.peek().is_none() {
                Some(Kind::Foreign)
            } else {
                (!lives.any(|life| life.may_last(time))).then_some(Kind::Late)
            }
        }
    };
    let Some(kind) = kind else { return Ok(()) };
    Err(Box::new(Violation {
        kind,
        read: read.clone(),
        writes: seen.into_iter().cloned().collect(),
    }))
}

/// The writes whose effect a read may have seen, and whether it may have come before all of them:
/// not those that were invoked after it returned, and not those that another write, itself over
/// before the read, certainly came after.
fn visible<'a>(
    writes: &[&'a Operation<Input, Output>],
    read: &Operation<Input, Output>,
    read_returned: Stamp,
) -> (Vec<&'a Operation<Input, Output>>, bool) {
    let settled = writes
        .iter()
        .filter(|write| write.precedes(read))
        .map(|write| write.invoked)
        .max();
    let may_be_last = |write: &&&Operation<Input, Output>| {
        write.invoked < read_returned
            && (settled.is_none_or(|settled| write.returned().is_none_or(|end| end > settled)))
    };
    let seen = writes.iter().filter(may_be_last).copied().collect();
    (seen, settled.is_none())
}

/// For how long a key is there, once written.
struct Life {
    /// Whether the write leaves the value that is asked for, or any when none is.
    sets_it: bool,
    /// The deadline; `None` when it lives for ever.
    deadline: Option<Span>,
}

fn life(write: &Operation<Input, Output>, value: Option<&Vec<u8>>) -> Life {
    let time = match &write.outcome {
        Some(outcome) => outcome.output.time,
        None => Span {
            low_ns: write.input.since_ns,
            high_ns: u64::MAX,
        },
    };
    match &write.input.action {
        Action::Set {
            value: set,
            time_to_live_ns,
        } => Life {
            sets_it: value.is_none_or(|value| value == set),
            deadline: time_to_live_ns.map(|time_to_live_ns| Span {
                low_ns: time.low_ns.saturating_add(time_to_live_ns),
                high_ns: time.high_ns.saturating_add(time_to_live_ns),
            }),
        },
        Action::Delete | Action::Get => Life {
            sets_it: false,
            deadline: None,
        },
    }
}

impl Life {
    /// Whether a read in that range may find no key. At the deadline itself the key is gone.
    fn may_be_over(&self, time: Span) -> bool {
        !self.sets_it
            || self
                .deadline
                .is_some_and(|deadline| deadline.low_ns <= time.high_ns)
    }

    /// Whether a read in that range may find the key.
    fn may_last(&self, time: Span) -> bool {
        self.deadline
            .is_none_or(|deadline| time.low_ns < deadline.high_ns)
    }
}

impl Display for Violation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            Kind::Early => "a key was gone before its deadline",
            Kind::Late => "a key was there after its deadline",
            Kind::Foreign => "a key had a value that no write left there",
        };
        write!(f, "{what}:\n  {}\nwrites that it may have seen:", self.read)?;
        for write in &self.writes {
            write!(f, "\n  {write}")?;
        }
        Ok(())
    }
}

impl Error for Violation {}

impl Debug for Input {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let key = self.key.escape_ascii();
        match &self.action {
            Action::Set {
                value,
                time_to_live_ns,
            } => {
                write!(f, "set {key} {}", value.escape_ascii())?;
                match time_to_live_ns {
                    Some(time_to_live_ns) => write!(f, " for {time_to_live_ns} ns")?,
                    None => f.write_str(" for ever")?,
                }
            }
            Action::Delete => write!(f, "del {key}")?,
            Action::Get => write!(f, "get {key}")?,
        }
        write!(f, " (from {})", self.since_ns)
    }
}

impl Debug for Output {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.found {
            Some(value) => write!(f, "\"{}\"", value.escape_ascii())?,
            None => f.write_str("nothing")?,
        }
        write!(f, " at {} to {}", self.time.low_ns, self.time.high_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::Recorder;

    const FOREVER: Option<u64> = None;

    /// Operations on one key, written down as they happen.
    #[derive(Default)]
    struct Story(Recorder<Input, Output>);

    impl Story {
        fn input(action: Action) -> Input {
            Input {
                key: b"k".to_vec(),
                action,
                since_ns: 100,
            }
        }

        fn set_action(value: &str, time_to_live_ns: Option<u64>) -> Action {
            Action::Set {
                value: value.into(),
                time_to_live_ns,
            }
        }

        fn run(
            mut self,
            action: Action,
            (low_ns, high_ns): (u64, u64),
            found: Option<&str>,
        ) -> Self {
            let id = self.0.invoke(1, Story::input(action));
            let output = Output {
                time: Span { low_ns, high_ns },
                found: found.map(Into::into),
            };
            self.0.complete(id, output);
            self
        }

        fn set(self, value: &str, time_to_live_ns: Option<u64>, time: (u64, u64)) -> Self {
            self.run(Story::set_action(value, time_to_live_ns), time, None)
        }

        fn delete(self, at: u64) -> Self {
            self.run(Action::Delete, (at, at), None)
        }

        fn get(self, time: (u64, u64), found: Option<&str>) -> Self {
            self.run(Action::Get, time, found)
        }

        fn unknown(mut self, action: Action) -> Self {
            self.0.invoke(2, Story::input(action));
            self
        }

        fn kind(self) -> Option<Kind> {
            check(&self.0.into_history()).err().map(|found| found.kind)
        }
    }

    #[test]
    fn a_key_lives_to_its_deadline() {
        let story = || Story::default().set("a", Some(50), (100, 100));
        assert_eq!(story().get((149, 149), Some("a")).kind(), None);
        assert_eq!(story().get((150, 150), None).kind(), None);
        assert_eq!(story().get((149, 149), None).kind(), Some(Kind::Early));
        assert_eq!(story().get((150, 150), Some("a")).kind(), Some(Kind::Late));
    }

    #[test]
    fn what_may_be_right_passes() {
        // Set between 100 and 120, so the deadline is between 150 and 170.
        let story = || Story::default().set("a", Some(50), (100, 120));
        for time in [(100, 150), (140, 200), (160, 160)] {
            assert_eq!(story().get(time, None).kind(), None, "{time:?}");
            assert_eq!(story().get(time, Some("a")).kind(), None, "{time:?}");
        }
        assert_eq!(story().get((130, 149), None).kind(), Some(Kind::Early));
        assert_eq!(story().get((170, 200), Some("a")).kind(), Some(Kind::Late));
    }

    #[test]
    fn a_key_without_a_deadline_stays() {
        let story = || Story::default().set("a", FOREVER, (100, 100));
        assert_eq!(story().get((u64::MAX, u64::MAX), Some("a")).kind(), None);
        assert_eq!(
            story().get((u64::MAX, u64::MAX), None).kind(),
            Some(Kind::Early)
        );
    }

    #[test]
    fn a_key_that_was_never_set_is_not_there() {
        assert_eq!(Story::default().get((1, 2), None).kind(), None);
        let foreign = Story::default().get((1, 2), Some("a"));
        assert_eq!(foreign.kind(), Some(Kind::Foreign));
    }

    #[test]
    fn other_writes_explain_an_early_end() {
        let story = || Story::default().set("a", Some(50), (100, 100));
        assert_eq!(story().delete(110).get((120, 120), None).kind(), None);
        let unknown = story().unknown(Action::Delete).get((120, 120), None);
        assert_eq!(unknown.kind(), None);
        let shorter = story().set("b", Some(5), (110, 110)).get((120, 120), None);
        assert_eq!(shorter.kind(), None);
        // Two sets, either may be the last, and neither is over.
        let unknown = story()
            .unknown(Story::set_action("b", Some(60)))
            .get((120, 120), None);
        assert_eq!(unknown.kind(), Some(Kind::Early));
    }

    #[test]
    fn an_overwritten_deadline_does_not_count() {
        let story = || Story::default().set("a", Some(10), (100, 100));
        // Set again without a deadline, the key stays.
        let stays = || story().set("b", FOREVER, (105, 105));
        assert_eq!(stays().get((500, 500), Some("b")).kind(), None);
        assert_eq!(stays().get((500, 500), None).kind(), Some(Kind::Early));
        assert_eq!(
            stays().get((500, 500), Some("a")).kind(),
            Some(Kind::Foreign)
        );
        // A delete that was over before the set explains nothing.
        let after_delete = Story::default().delete(90).set("a", Some(50), (100, 100));
        assert_eq!(after_delete.get((120, 120), None).kind(), Some(Kind::Early));
    }

    #[test]
    fn a_set_of_unknown_outcome_may_happen_late() {
        let story = || Story::default().unknown(Story::set_action("a", Some(50)));
        assert_eq!(story().get((1000, 1000), Some("a")).kind(), None);
        assert_eq!(story().get((120, 120), None).kind(), None);
        let settled = || story().set("b", FOREVER, (110, 110));
        // It came after, and was over again; but not before 150, as it was sent at 100.
        assert_eq!(settled().get((150, 150), None).kind(), None);
        assert_eq!(settled().get((149, 149), None).kind(), Some(Kind::Early));
    }

    #[test]
    fn keys_are_judged_alone_and_violations_printed() {
        let mut recorder = Recorder::new();
        for (key, action) in [
            ("k", Story::set_action("a", Some(50))),
            ("other", Action::Delete),
            ("k", Action::Get),
        ] {
            let mut input = Story::input(action);
            input.key = key.into();
            let id = recorder.invoke(1, input);
            let time = Span {
                low_ns: 110,
                high_ns: 120,
            };
            recorder.complete(id, Output { time, found: None });
        }
        let violation = check(&recorder.into_history()).unwrap_err();
        assert_eq!(
            violation.to_string(),
            "a key was gone before its deadline:\n  \
             [    4..    5] client 1 #4 get k (from 100) -> nothing at 110 to 120\n\
             writes that it may have seen:\n  \
             [    0..    1] client 1 #0 set k a for 50 ns (from 100) -> nothing at 110 to 120"
        );
    }
}
