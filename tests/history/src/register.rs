//! A map of registers with the commands of a key-value store, as Redis defines them.

use std::fmt::{self, Debug, Formatter};

use crate::model::{Effect, Model};

/// What is asked of one key.
#[derive(Clone, PartialEq, Eq)]
pub struct Input {
    /// The key.
    pub key: Vec<u8>,
    /// What to do with it.
    pub action: Action,
}

/// What can be done with a key.
#[derive(Clone, PartialEq, Eq)]
pub enum Action {
    /// Answers [`Output::Value`], or [`Output::Nil`] when the key does not exist.
    Get,
    /// Sets the value and answers [`Output::Done`].
    Set(Vec<u8>),
    /// Sets the value of a key that does not exist: 1 when it was set, else 0.
    SetIfAbsent(Vec<u8>),
    /// Sets a key that has the expected value: 1 when it was set, else 0.
    CompareAndSet {
        /// The value it must have.
        expected: Vec<u8>,
        /// The value it gets.
        new: Vec<u8>,
    },
    /// Removes the key: 1 when it existed, else 0.
    Delete,
    /// Adds to the number in decimal digits that the value is, 0 when the key does not exist, and
    /// answers the sum. [`Output::Failed`] when the value is no number or the sum overflows.
    Increment(i64),
    /// Adds to the end of the value and answers its new length in bytes.
    Append(Vec<u8>),
}

/// What is answered.
#[derive(Clone, PartialEq, Eq)]
pub enum Output {
    /// Done, and there is nothing else to say.
    Done,
    /// The key does not exist.
    Nil,
    /// The key's value.
    Value(Vec<u8>),
    /// A number; 1 for yes and 0 for no.
    Integer(i64),
    /// The command ran and failed by its own rules, without effect. Not for a command that may
    /// not have run.
    Failed,
}

/// Keys of bytes with values of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Register;

impl Input {
    /// An action on a key.
    pub fn new(key: impl Into<Vec<u8>>, action: Action) -> Self {
        Input {
            key: key.into(),
            action,
        }
    }
}

impl Model for Register {
    /// The key as it is printed: bytes that are no text are escaped.
    type Key = String;
    type Input = Input;
    type Output = Output;
    type State = Value;

    fn key(&self, input: &Input) -> String {
        input.key.escape_ascii().to_string()
    }

    fn initial(&self, _key: &String) -> Value {
        Value(None)
    }

    fn step(&self, state: &Value, input: &Input, output: Option<&Output>) -> Option<Value> {
        let (after, answer) = input.action.run(state);
        output
            .is_none_or(|output| *output == answer)
            .then_some(after)
    }

    fn effect(&self, input: &Input, output: Option<&Output>) -> Effect {
        match (&input.action, output) {
            (Action::Set(_), None | Some(Output::Done)) => Effect::Overwrites,
            (Action::Get, _) | (_, Some(Output::Failed)) => Effect::None,
            (action, Some(Output::Integer(0))) if action.is_conditional() => Effect::None,
            _ => Effect::Depends,
        }
    }
}

/// A key's value; `None` when it does not exist.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Value(pub Option<Vec<u8>>);

impl Action {
    /// Runs the action alone: the value afterwards, and the answer.
    pub fn run(&self, before: &Value) -> (Value, Output) {
        let unchanged = || before.clone();
        let set = |value: &Vec<u8>| Value(Some(value.clone()));
        let old = before.0.as_ref();
        match self {
            Action::Get => (unchanged(), old.cloned().map_or(Output::Nil, Output::Value)),
            Action::Set(value) => (set(value), Output::Done),
            Action::SetIfAbsent(value) if old.is_none() => (set(value), Output::Integer(1)),
            Action::CompareAndSet { expected, new } if old == Some(expected) => {
                (set(new), Output::Integer(1))
            }
            Action::SetIfAbsent(_) | Action::CompareAndSet { .. } => {
                (unchanged(), Output::Integer(0))
            }
            Action::Delete => (Value(None), Output::Integer(i64::from(old.is_some()))),
            Action::Increment(by) => match number(old).and_then(|old| old.checked_add(*by)) {
                Some(sum) => (set(&sum.to_string().into_bytes()), Output::Integer(sum)),
                None => (unchanged(), Output::Failed),
            },
            Action::Append(tail) => {
                let value = [old.map_or(&[][..], Vec::as_slice), tail].concat();
                let length = value.len() as i64;
                (Value(Some(value)), Output::Integer(length))
            }
        }
    }

    /// Whether it answers 0 when it does nothing.
    fn is_conditional(&self) -> bool {
        matches!(
            self,
            Action::SetIfAbsent(_) | Action::CompareAndSet { .. } | Action::Delete
        )
    }
}

/// Redis takes a number only as it would write it: no plus sign, no leading zeros.
fn number(value: Option<&Vec<u8>>) -> Option<i64> {
    let Some(value) = value else { return Some(0) };
    let text = std::str::from_utf8(value).ok()?;
    let number: i64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

impl Debug for Input {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let key = self.key.escape_ascii();
        match &self.action {
            Action::Get => write!(f, "get {key}"),
            Action::Set(value) => write!(f, "set {key} {}", value.escape_ascii()),
            Action::SetIfAbsent(value) => write!(f, "setnx {key} {}", value.escape_ascii()),
            Action::CompareAndSet { expected, new } => {
                let (expected, new) = (expected.escape_ascii(), new.escape_ascii());
                write!(f, "cas {key} {expected} {new}")
            }
            Action::Delete => write!(f, "del {key}"),
            Action::Increment(by) => write!(f, "incrby {key} {by}"),
            Action::Append(tail) => write!(f, "append {key} {}", tail.escape_ascii()),
        }
    }
}

impl Debug for Output {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Output::Done => f.write_str("ok"),
            Output::Nil => f.write_str("nil"),
            Output::Value(value) => write!(f, "\"{}\"", value.escape_ascii()),
            Output::Integer(number) => write!(f, "{number}"),
            Output::Failed => f.write_str("failed"),
        }
    }
}

impl Debug for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("nil"),
            Some(value) => write!(f, "\"{}\"", value.escape_ascii()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The searches rely on what the model says of effects: here it is held to it, for all
    /// actions, states and answers of a small world.
    #[test]
    fn effects_are_as_stated() {
        let texts = ["", "a", "b", "0", "1", "01", "9223372036854775807"];
        let values = || texts.map(|text| text.as_bytes().to_vec());
        let mut actions = vec![Action::Get, Action::Delete];
        for value in values() {
            actions.extend([
                Action::Set(value.clone()),
                Action::SetIfAbsent(value.clone()),
                Action::Append(value.clone()),
            ]);
            actions.extend(values().map(|new| Action::CompareAndSet {
                expected: value.clone(),
                new,
            }));
        }
        actions.extend([-1, 0, 1].map(Action::Increment));
        let states: Vec<Value> = [None]
            .into_iter()
            .chain(values().map(Some))
            .map(Value)
            .collect();

        for action in actions {
            let input = Input::new("k", action);
            for before in &states {
                let (after, output) = input.action.run(before);
                assert_eq!(Register.step(before, &input, None), Some(after.clone()));
                for output in [None, Some(&output)] {
                    let case = format!("{input:?} -> {output:?} in {before:?}");
                    let in_other = |state| Register.step(state, &input, output);
                    match Register.effect(&input, output) {
                        Effect::None => assert_eq!(after, *before, "{case}"),
                        Effect::Overwrites => {
                            let is_same = |state| in_other(state) == Some(after.clone());
                            assert!(states.iter().all(is_same), "{case}");
                        }
                        Effect::Depends => {}
                    }
                }
            }
        }
    }

    #[test]
    fn numbers_are_what_redis_takes_for_one() {
        let number = |text: &str| number(Some(&text.into()));
        for (text, expected) in [("0", 0), ("-7", -7), ("9223372036854775807", i64::MAX)] {
            assert_eq!(number(text), Some(expected));
        }
        for text in [
            "",
            "+1",
            "01",
            "-0",
            " 1",
            "1.0",
            "9223372036854775808",
            "a",
        ] {
            assert_eq!(number(text), None, "{text}");
        }
    }
}
