//! Acknowledged writes stay: what is found at the end is what they left.
//!
//! The values found are taken as reads after everything else, so every order that explains the
//! history must also end in them. A write of unknown outcome may still be what is found.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::{self, Debug, Display, Formatter};

use crate::linearize::{self, Undecided};
use crate::operation::{Operation, Outcome};
use crate::register::{Action, Input, Output, Register};

/// Why it is not certain that nothing was lost.
pub enum Failure {
    /// The history explains itself, and not what was found at the end.
    Lost(Box<linearize::Violation<Register>>),
    /// The history is not linearizable even without what was found at the end.
    NotLinearizable(Box<linearize::Violation<Register>>),
    /// The budget ended before the search did.
    Undecided(Box<Undecided<Register>>),
}

/// The client that the final reads are attributed to.
pub const FINAL_READER: u64 = u64::MAX;

/// Checks what linearizable reads found after the last operation: each key with its value, `None`
/// for a key that does not exist. Takes at most `steps_max` steps a key, as
/// [`linearize::check`] does.
pub fn check(
    history: &[Operation<Input, Output>],
    found: &BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    steps_max: u64,
) -> Result<(), Failure> {
    let failure = match linearize::check(&Register, &with_reads(history, found), steps_max) {
        Ok(()) => return Ok(()),
        Err(failure) => failure,
    };
    match (failure, linearize::check(&Register, history, steps_max)) {
        (_, Err(linearize::Failure::Violation(earlier))) => Err(Failure::NotLinearizable(earlier)),
        (linearize::Failure::Violation(lost), Ok(())) => Err(Failure::Lost(lost)),
        (linearize::Failure::Violation(either), Err(linearize::Failure::Undecided(_))) => {
            Err(Failure::NotLinearizable(either))
        }
        (linearize::Failure::Undecided(undecided), _) => Err(Failure::Undecided(undecided)),
    }
}

/// The history with one read for each key found, behind everything.
fn with_reads(
    history: &[Operation<Input, Output>],
    found: &BTreeMap<Vec<u8>, Option<Vec<u8>>>,
) -> Vec<Operation<Input, Output>> {
    let end = |operation: &Operation<Input, Output>| {
        operation.returned().unwrap_or(operation.invoked) + 1
    };
    let mut stamp = history.iter().map(end).max().unwrap_or(0);
    let first_id = history.iter().map(|operation| operation.id + 1).max();
    let mut all = history.to_vec();
    for (id, (key, value)) in (first_id.unwrap_or(0)..).zip(found) {
        all.push(Operation {
            client: FINAL_READER,
            id,
            invoked: stamp,
            input: Input::new(key.clone(), Action::Get),
            outcome: Some(Outcome {
                returned: stamp + 1,
                output: value.clone().map_or(Output::Nil, Output::Value),
            }),
        });
        stamp += 2;
    }
    all
}

impl Display for Failure {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Lost(violation) => {
                write!(
                    f,
                    "the value found at the end is not what was acknowledged: {violation}"
                )
            }
            Failure::NotLinearizable(violation) => Display::fmt(violation, f),
            Failure::Undecided(undecided) => Display::fmt(undecided, f),
        }
    }
}

impl Debug for Failure {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

impl Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linearize::STEPS_DEFAULT;
    use crate::recorder::Recorder;

    /// Two acknowledged values, and after them one of unknown outcome when asked for.
    fn history(with_unknown: bool) -> Vec<Operation<Input, Output>> {
        let mut recorder = Recorder::new();
        let set = |value: &str| Input::new("k", Action::Set(value.into()));
        for value in ["one", "two"] {
            let id = recorder.invoke(1, set(value));
            recorder.complete(id, Output::Done);
        }
        if with_unknown {
            recorder.invoke(2, set("unknown"));
        }
        recorder.into_history()
    }

    fn found(history: &[Operation<Input, Output>], value: Option<&str>) -> Result<(), Failure> {
        let found = BTreeMap::from([(b"k".to_vec(), value.map(|value| value.as_bytes().to_vec()))]);
        check(history, &found, STEPS_DEFAULT)
    }

    #[test]
    fn what_was_acknowledged_last_may_be_found() {
        assert!(found(&history(false), Some("two")).is_ok());
        assert!(found(&history(true), Some("two")).is_ok());
    }

    #[test]
    fn what_is_unknown_may_be_found() {
        assert!(found(&history(true), Some("unknown")).is_ok());
    }

    #[test]
    fn a_lost_write_is_found() {
        for value in [None, Some("one"), Some("unknown")] {
            let failure = found(&history(false), value).unwrap_err();
            assert!(matches!(failure, Failure::Lost(_)), "{failure}");
        }
        let failure = found(&history(true), Some("one")).unwrap_err();
        assert!(
            failure
                .to_string()
                .starts_with("the value found at the end is not")
        );
    }

    #[test]
    fn a_history_that_is_wrong_in_itself_is_told_apart() {
        let mut history = history(false);
        history[1].input.action = Action::Delete;
        history[1].outcome.as_mut().unwrap().output = Output::Integer(0);
        let failure = found(&history, None).unwrap_err();
        assert!(matches!(failure, Failure::NotLinearizable(_)), "{failure}");
    }

    #[test]
    fn a_search_that_did_not_end_does_not_pass() {
        let found = BTreeMap::from([(b"k".to_vec(), Some(b"two".to_vec()))]);
        let failure = check(&history(false), &found, 1).unwrap_err();
        assert!(matches!(failure, Failure::Undecided(_)), "{failure}");
    }
}
