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
    Undecided(Undecided<String>),
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
    let mut id = history
        .iter()
        .map(|operation| operation.id + 1)
        .max()
        .unwrap_or(0);
    let mut all = history.to_vec();
    for (key, value) in found {
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
        id += 1;
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
