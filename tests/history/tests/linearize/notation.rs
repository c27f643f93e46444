//! Histories written as text, one operation a line, all on one key:
//!
//! ```text
//! 1..4 set a -> ok
//! 2..3 get -> nil
//! 5..? cas a b
//! ```

use hostd_history::linearize::{self, Failure, STEPS_DEFAULT};
use hostd_history::register::{Action, Input, Output, Register};
use hostd_history::{Operation, Outcome};

pub(crate) type Registered = Operation<Input, Output>;

/// Passes when the history is linearizable.
#[track_caller]
pub(crate) fn accept(text: &str) {
    if let Err(failure) = check(&history(text)) {
        panic!("{failure}");
    }
}

/// Passes when the history is not linearizable, and known to be so.
#[track_caller]
pub(crate) fn reject(text: &str) {
    match check(&history(text)) {
        Err(Failure::Violation(_)) => {}
        Err(undecided @ Failure::Undecided(_)) => panic!("{undecided}"),
        Ok(()) => panic!("accepted:\n{text}"),
    }
}

pub(crate) fn check(history: &[Registered]) -> Result<(), Failure<Register>> {
    linearize::check(&Register, history, STEPS_DEFAULT)
}

pub(crate) fn history(text: &str) -> Vec<Registered> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.enumerate().map(operation).collect()
}

fn operation((id, line): (usize, &str)) -> Registered {
    let (what, output) = match line.split_once(" -> ") {
        Some((what, output)) => (what, Some(output)),
        None => (line, None),
    };
    let (interval, what) = what.split_once(' ').expect("an interval and a command");
    let (invoked, returned) = interval.split_once("..").expect("an interval");
    Operation {
        client: id as u64,
        id: id as u64,
        invoked: invoked.parse().expect("a stamp"),
        input: Input::new("k", action(what)),
        outcome: output.map(|output| Outcome {
            returned: returned.parse().expect("a stamp"),
            output: parse_output(output),
        }),
    }
}

fn action(text: &str) -> Action {
    let words: Vec<&str> = text.split_whitespace().collect();
    match words[..] {
        ["get"] => Action::Get,
        ["set", value] => Action::Set(value.into()),
        ["setnx", value] => Action::SetIfAbsent(value.into()),
        ["cas", expected, new] => Action::CompareAndSet {
            expected: expected.into(),
            new: new.into(),
        },
        ["del"] => Action::Delete,
        ["incrby", by] => Action::Increment(by.parse().expect("a number")),
        ["append", tail] => Action::Append(tail.into()),
        _ => panic!("unknown command: {text}"),
    }
}

/// A number is an integer; a value that is one is quoted.
fn parse_output(text: &str) -> Output {
    match text {
        "ok" => Output::Done,
        "nil" => Output::Nil,
        "failed" => Output::Failed,
        _ => text.parse().map_or_else(
            |_| Output::Value(text.trim_matches('"').into()),
            Output::Integer,
        ),
    }
}
