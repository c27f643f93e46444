//! Every key is a linearizable register; increments count once; tokens are in their list once.

use anyhow::{Context as _, Result, anyhow};
use hostd_history::register::{Action, Input, Output};
use hostd_history::{Operation, Register, exactly_once, linearize};

use super::history;
use crate::workload::{KeyCall, tokens};

/// All calls on one key.
fn key_history(calls: &[KeyCall]) -> Vec<Operation<Input, Output>> {
    history(calls, Input::clone, Output::clone)
}

/// Some order of the calls explains all answers.
pub(super) fn linearizable(calls: &[KeyCall]) -> Result<()> {
    let history = key_history(calls);
    linearize::check(&Register, &history, linearize::STEPS_DEFAULT).map_err(|why| anyhow!("{why}"))
}

/// The last read found the sum of the increments.
pub(super) fn counted_once(calls: &[KeyCall]) -> Result<()> {
    let history = key_history(calls);
    let increments = actions(&history, |action| match action {
        Action::Increment(by) => Some(*by),
        _ => None,
    });
    let found = match last_read(&history)? {
        None => 0,
        Some(value) => std::str::from_utf8(value)?.parse()?,
    };
    exactly_once::counter::check(0, &increments, found).map_err(|why| anyhow!("{why}"))
}

/// The last read found the tokens that were appended.
pub(super) fn appended_once(calls: &[KeyCall]) -> Result<()> {
    let history = key_history(calls);
    let appends = actions(&history, |action| match action {
        Action::Append(token) => Some(token.clone()),
        _ => None,
    });
    let found = last_read(&history)?.map_or_else(Vec::new, |list| tokens(list));
    exactly_once::log::check(&appends, &found).map_err(|why| anyhow!("{why}"))
}

/// Operations of one kind, with what matters of each.
fn actions<T>(
    history: &[Operation<Input, Output>],
    pick: impl Fn(&Action) -> Option<T>,
) -> Vec<Operation<T, Output>> {
    let of_kind = |operation: &Operation<Input, Output>| {
        Some(Operation {
            client: operation.client,
            id: operation.id,
            invoked: operation.invoked,
            input: pick(&operation.input.action)?,
            outcome: operation.outcome.clone(),
        })
    };
    history.iter().filter_map(of_kind).collect()
}

/// What the last read found; it began after everything else had ended.
fn last_read(history: &[Operation<Input, Output>]) -> Result<Option<&Vec<u8>>> {
    let reads = history
        .iter()
        .filter(|operation| operation.input.action == Action::Get);
    let last = reads.max_by_key(|read| read.invoked);
    match last.and_then(Operation::output) {
        Some(Output::Value(value)) => Ok(Some(value)),
        Some(Output::Nil) => Ok(None),
        _ => Err(anyhow!("nobody has read it at the end")),
    }
    .context("the last read")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::calls;
    use crate::workload::Outcome;

    fn input(action: Action) -> Input {
        Input::new("k", action)
    }

    fn read(value: &str) -> (Input, Outcome<Output>) {
        let output = match value {
            "" => Output::Nil,
            value => Output::Value(value.into()),
        };
        (input(Action::Get), Outcome::Ok(output))
    }

    fn set(value: &str) -> Input {
        input(Action::Set(value.into()))
    }

    const DONE: Outcome<Output> = Outcome::Ok(Output::Done);

    #[test]
    fn recorded_calls_that_overlap_may_come_in_any_order() {
        let (get, two) = read("2");
        let list = [
            (0, 10, set("2"), DONE),
            (5, 15, set("1"), DONE),
            (16, 20, get, two),
        ];
        linearizable(&calls(&list)).unwrap();
    }

    #[test]
    fn recorded_violations_are_found() {
        let ((get, none), (_, one)) = (read(""), read("1"));
        let lost = [(0, 1, set("1"), DONE), (2, 3, get.clone(), none)];
        let refused = [
            (0, 1, set("1"), Outcome::Refused),
            (2, 3, get.clone(), one.clone()),
        ];
        let old = [
            (0, 1, set("1"), DONE),
            (2, 3, set("2"), DONE),
            (4, 5, get, one),
        ];
        assert!(linearizable(&calls(&lost)).is_err());
        assert!(linearizable(&calls(&refused)).is_err());
        assert!(linearizable(&calls(&old)).is_err());
    }

    #[test]
    fn an_increment_of_unknown_outcome_counts_once_or_not() {
        let add = || input(Action::Increment(1));
        let counted = |found| {
            let (get, found) = read(found);
            counted_once(&calls(&[
                (0, 1, add(), Outcome::Ok(Output::Integer(1))),
                (2, 3, add(), Outcome::Unknown),
                (4, 5, get, found),
            ]))
        };
        counted("1").unwrap();
        counted("2").unwrap();
        assert!(counted("").is_err(), "one is lost");
        assert!(counted("3").is_err(), "one counts twice");
    }

    #[test]
    fn a_token_is_there_once() {
        let append = |token: &str| input(Action::Append(token.into()));
        let appended = |found| {
            let (get, found) = read(found);
            appended_once(&calls(&[
                (0, 1, append("a;"), Outcome::Ok(Output::Integer(2))),
                (2, 3, append("b;"), Outcome::Unknown),
                (2, 3, append("c;"), Outcome::Refused),
                (4, 5, get, found),
            ]))
        };
        appended("a;").unwrap();
        appended("a;b;").unwrap();
        for bad in ["", "b;", "b;a;", "a;b;b;", "a;c;", "a;d;"] {
            assert!(appended(bad).is_err(), "{bad:?}");
        }
    }
}
