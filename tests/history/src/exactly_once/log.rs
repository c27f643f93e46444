//! A log that many clients append unique tokens to.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::{self, Debug, Display, Formatter};

use crate::operation::Operation;

/// What is wrong with the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation<T, O> {
    /// An acknowledged token is not there.
    Lost(Operation<T, O>),
    /// A token is there at both of these positions.
    Repeated(Operation<T, O>, usize, usize),
    /// A token that nobody appended, or whose append was refused, is at this position.
    Phantom(T, usize),
    /// The first operation had returned before the second began, and its token comes later.
    OutOfOrder(Operation<T, O>, Operation<T, O>),
}

/// Checks the tokens found in a log, in their order, against the appends that were made.
///
/// # Panics
/// When two operations append the same token: then nothing can be told.
pub fn check<T: Ord + Clone, O: Clone>(
    appends: &[Operation<T, O>],
    found: &[T],
) -> Result<(), Violation<T, O>> {
    let mut by_token = BTreeMap::new();
    for append in appends {
        let other = by_token.insert(&append.input, append);
        assert!(other.is_none(), "tokens are unique");
    }

    let mut positions = BTreeMap::new();
    // The append in the log so far that began last: what follows must not have ended before.
    let mut latest: Option<&Operation<T, O>> = None;
    for (position, token) in found.iter().enumerate() {
        let Some(&append) = by_token.get(token) else {
            return Err(Violation::Phantom(token.clone(), position));
        };
        if let Some(first) = positions.insert(token, position) {
            return Err(Violation::Repeated(append.clone(), first, position));
        }
        if let Some(latest) = latest.filter(|latest| append.precedes(latest)) {
            return Err(Violation::OutOfOrder(append.clone(), latest.clone()));
        }
        if latest.is_none_or(|latest| latest.invoked < append.invoked) {
            latest = Some(append);
        }
    }

    let is_lost = |append: &&Operation<T, O>| {
        append.outcome.is_some() && !positions.contains_key(&append.input)
    };
    match appends.iter().find(is_lost) {
        Some(lost) => Err(Violation::Lost(lost.clone())),
        None => Ok(()),
    }
}

impl<T: Debug, O: Debug> Display for Violation<T, O> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Violation::Lost(append) => write!(f, "an acknowledged token was lost:\n  {append}"),
            Violation::Repeated(append, first, second) => write!(
                f,
                "a token took effect twice, at {first} and at {second}:\n  {append}"
            ),
            Violation::Phantom(token, position) => {
                write!(f, "nobody appended {token:?}, which is at {position}")
            }
            Violation::OutOfOrder(first, second) => {
                write!(
                    f,
                    "the earlier token is later in the log:\n  {first}\n  {second}"
                )
            }
        }
    }
}

impl<T: Debug, O: Debug> Error for Violation<T, O> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::Recorder;

    /// `a` before `b` and `c`, which are concurrent; `d` after all, unknown.
    fn history() -> Vec<Operation<char, ()>> {
        let mut recorder = Recorder::new();
        let a = recorder.invoke(1, 'a');
        recorder.complete(a, ());
        let b = recorder.invoke(1, 'b');
        let c = recorder.invoke(2, 'c');
        recorder.complete(b, ());
        recorder.complete(c, ());
        recorder.invoke(3, 'd');
        recorder.into_history()
    }

    fn found(tokens: &str) -> Result<(), Violation<char, ()>> {
        check(&history(), &tokens.chars().collect::<Vec<_>>())
    }

    #[test]
    fn logs_that_explain_every_answer_pass() {
        for tokens in ["abc", "acb", "abcd", "acbd"] {
            assert_eq!(found(tokens), Ok(()), "{tokens}");
        }
    }

    #[test]
    fn an_unknown_token_may_come_late_but_not_before_it_was_sent() {
        // All others had returned when `d` was sent.
        let history = history();
        let expected = Violation::OutOfOrder(history[2].clone(), history[3].clone());
        assert_eq!(found("abdc"), Err(expected));
    }

    #[test]
    fn a_lost_token_is_found() {
        let violation = found("acd").unwrap_err();
        assert_eq!(violation, Violation::Lost(history()[1].clone()));
        assert_eq!(
            violation.to_string(),
            "an acknowledged token was lost:\n  [    2..    4] client 1 #2 'b' -> ()"
        );
    }

    #[test]
    fn a_token_that_took_effect_twice_is_found_known_or_unknown() {
        let history = history();
        let expected = Violation::Repeated(history[1].clone(), 1, 3);
        assert_eq!(found("abcb"), Err(expected));
        let expected = Violation::Repeated(history[3].clone(), 3, 4);
        assert_eq!(found("abcdd"), Err(expected));
    }

    #[test]
    fn a_token_that_nobody_wrote_is_found() {
        assert_eq!(found("abxc"), Err(Violation::Phantom('x', 2)));
    }

    #[test]
    fn an_order_against_real_time_is_found() {
        let history = history();
        let expected = Violation::OutOfOrder(history[0].clone(), history[2].clone());
        assert_eq!(found("bca"), Err(expected));
    }
}
