//! The replicated machine: MACHINE, its clock, and BARRIER, its log.

use std::time::{Duration, UNIX_EPOCH};

use hostd_protocol::{ClockInfo, Request, Response};

use super::{Asking, Step, TIMEOUT_MS, subcommand, unknown_subcommand};
use crate::Service;
use crate::resp::encode::Value;

/// The log is written for it, and what was logged before is applied here.
pub(super) fn barrier<'a, S: Service>(asking: &Asking<'_, 'a, S>) -> Step<'a> {
    let request = Request::Barrier {
        timeout_ms: TIMEOUT_MS,
    };
    asking.ask(request, |response| match response {
        Response::Done => Some(Value::OK),
        _ => None,
    })
}

pub(super) fn machine<'a, S: Service>(
    asking: &Asking<'_, 'a, S>,
    arguments: &[Vec<u8>],
) -> Step<'a> {
    let (wanted, rest) = subcommand(arguments);
    let human = match (wanted.as_str(), rest) {
        ("", []) => false,
        ("human", []) => true,
        (wanted, _) => return Step::Now(unknown_subcommand("machine", wanted)),
    };
    asking.ask(Request::Clock, move |response| match response {
        Response::Clock(clock) => Some(clock_of(&clock, human)),
        _ => None,
    })
}

/// Numbers are nanoseconds.
fn clock_of(clock: &ClockInfo, human: bool) -> Value {
    // The replicated clock stands still while nothing is logged.
    let now = clock.last.max(clock.wall);
    let born = clock.founded.unwrap_or(now);
    let uptime = now.saturating_sub(born);
    let time = |nanoseconds| {
        let time = UNIX_EPOCH + Duration::from_nanos(nanoseconds);
        humantime::format_rfc3339_nanos(time).to_string()
    };
    Value::sorted(if human {
        let uptime = Duration::from_nanos(uptime);
        [
            ("boottime", time(born)),
            ("now", time(now)),
            ("uptime", humantime::format_duration(uptime).to_string()),
        ]
    } else {
        [
            ("boottime", born.to_string()),
            ("now", now.to_string()),
            ("uptime", uptime.to_string()),
        ]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_told_in_nanoseconds_or_in_words() {
        let clock = ClockInfo {
            founded: Some(1_000_000_000),
            last: 5_000_000_001,
            wall: 4_000_000_000,
        };
        let told = |human| match clock_of(&clock, human) {
            Value::Map(pairs) => pairs
                .into_iter()
                .map(|(_, value)| value)
                .collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            told(false),
            ["1000000000", "5000000001", "4000000001"].map(Value::from)
        );
        let words = [
            "1970-01-01T00:00:01.000000000Z",
            "1970-01-01T00:00:05.000000001Z",
            "4s 1ns",
        ];
        assert_eq!(told(true), words.map(Value::from));
    }
}
