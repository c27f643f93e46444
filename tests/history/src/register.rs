//! A register: what one key of the kv plugin does.

use crate::Model;

/// What is asked of a register. Values are small numbers, which stand for whatever was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Its value.
    Get,
    /// Sets it.
    Set(u64),
    /// Sets it if it has no value.
    SetIfAbsent(u64),
    /// Sets it from one value to another.
    CompareAndSet(u64, u64),
    /// Takes its value away.
    Delete,
}

/// What a register answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// To [`Input::Get`].
    Value(Option<u64>),
    /// To [`Input::Set`].
    Done,
    /// To all others: whether it changed anything.
    Changed(bool),
}

/// Registers by name.
#[derive(Clone, Copy, Debug, Default)]
pub struct Registers;

impl Model for Registers {
    type Input = (String, Input);
    type Output = Output;
    type State = Option<u64>;

    fn initial(&self) -> Option<u64> {
        None
    }

    fn key(&self, input: &(String, Input)) -> String {
        input.0.clone()
    }

    fn step(
        &self,
        state: &Option<u64>,
        (_, input): &(String, Input),
        output: Option<&Output>,
    ) -> Option<Option<u64>> {
        let (answer, after) = match input {
            Input::Get => (Output::Value(*state), *state),
            Input::Set(value) => (Output::Done, Some(*value)),
            Input::SetIfAbsent(value) => {
                let free = state.is_none();
                (
                    Output::Changed(free),
                    if free { Some(*value) } else { *state },
                )
            }
            Input::CompareAndSet(expected, new) => {
                let equal = *state == Some(*expected);
                (
                    Output::Changed(equal),
                    if equal { Some(*new) } else { *state },
                )
            }
            Input::Delete => (Output::Changed(state.is_some()), None),
        };
        output
            .is_none_or(|output| *output == answer)
            .then_some(after)
    }

    fn is_read(&self, input: &(String, Input)) -> bool {
        input.1 == Input::Get
    }
}
