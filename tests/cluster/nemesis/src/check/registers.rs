//! Every key is a linearizable register.

use anyhow::{Result, anyhow};

use super::linearizable;
use crate::workload::{Answer, Call, Register, Verb};

pub(super) fn check(calls: &[Call<Register, Answer>]) -> Result<()> {
    linearizable::check(calls, None, step).map_err(|why| anyhow!(why))
}

type State = Option<Vec<u8>>;

fn step(state: &State, operation: &Register, answer: Option<&Answer>) -> Option<State> {
    let (next, expected) = match &operation.verb {
        Verb::Get => (state.clone(), Answer::Value(state.clone())),
        Verb::Set(value) => (Some(value.clone()), Answer::Done),
        Verb::Cas(old, new) if state.as_ref() == Some(old) => {
            (Some(new.clone()), Answer::Whether(true))
        }
        Verb::Cas(..) => (state.clone(), Answer::Whether(false)),
        Verb::Del => (None, Answer::Whether(state.is_some())),
    };
    answer
        .is_none_or(|answer| *answer == expected)
        .then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::calls;
    use crate::workload::Outcome;

    fn on_key(verb: Verb) -> Register {
        Register {
            key: "k".into(),
            verb,
        }
    }

    fn set(value: &str) -> Register {
        on_key(Verb::Set(value.into()))
    }

    fn get(value: &str) -> (Register, Outcome<Answer>) {
        let value = (!value.is_empty()).then(|| value.into());
        (on_key(Verb::Get), Outcome::Ok(Answer::Value(value)))
    }

    const DONE: Outcome<Answer> = Outcome::Ok(Answer::Done);

    #[test]
    fn overlapping_writes_may_come_in_any_order() {
        let (read, two) = get("2");
        let list = [
            (0, 10, set("2"), DONE),
            (5, 15, set("1"), DONE),
            (16, 20, read, two),
        ];
        check(&calls(&list)).unwrap();
    }

    #[test]
    fn a_read_of_an_old_value_is_found() {
        let (read, one) = get("1");
        let list = [
            (0, 1, set("1"), DONE),
            (2, 3, set("2"), DONE),
            (4, 5, read, one),
        ];
        assert!(check(&calls(&list)).is_err());
    }

    #[test]
    fn a_lost_write_is_found() {
        let (read, none) = get("");
        let list = [(0, 1, set("1"), DONE), (2, 3, read, none)];
        assert!(check(&calls(&list)).is_err());
    }

    #[test]
    fn a_write_of_unknown_outcome_may_take_effect_late_and_only_once() {
        let ((read, one), (_, two)) = (get("1"), get("2"));
        let late = [
            (0, 1, set("1"), DONE),
            (2, 3, set("2"), Outcome::Unknown),
            (4, 5, read.clone(), one.clone()),
            (6, 7, read.clone(), two.clone()),
        ];
        check(&calls(&late)).unwrap();
        let undone = [&late[..], &[(8, 9, read, one)]].concat();
        assert!(check(&calls(&undone)).is_err());
    }

    #[test]
    fn a_refused_write_with_an_effect_is_found() {
        let (read, one) = get("1");
        let list = [(0, 1, set("1"), Outcome::Refused), (2, 3, read, one)];
        assert!(check(&calls(&list)).is_err());
    }

    #[test]
    fn only_one_of_two_comparisons_succeeds() {
        let cas = |new: &str| on_key(Verb::Cas("1".into(), new.into()));
        let whether = |yes| Outcome::Ok(Answer::Whether(yes));
        let list = |second| {
            [
                (0, 1, set("1"), DONE),
                (2, 9, cas("2"), whether(true)),
                (2, 9, cas("3"), whether(second)),
            ]
        };
        check(&calls(&list(false))).unwrap();
        assert!(check(&calls(&list(true))).is_err());
    }
}
