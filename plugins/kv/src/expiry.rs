//! Deadlines: when a key ceases to exist.
//!
//! A key is absent for every command from the nanosecond of its deadline on, by the replicated
//! clock. One timer, set to the soonest deadline, then removes its rows: an idle cluster logs
//! nothing until a key is due. A deadline that goes away leaves the timer as it is; the timer
//! then finds nothing due and moves on to the next deadline.
//!
//! Deadlines later than the replicated clock goes, in the year 2554, are kept as its end.

use hostd_sdk::prelude::*;

use crate::errors;
use crate::store::{self, Changes};

/// The only timer of this plugin.
const TIMER: &str = "expiry";

/// How many keys one wake removes, to bound its work. The timer is due again at once when more
/// are left.
const REMOVED_MAX: u32 = 512;

/// Has the timer due at `deadline` or before.
pub(crate) fn wake_by(ctx: &Context, deadline: Time) {
    let timer = ctx.timer(TIMER);
    if timer.due().is_none_or(|due| due > deadline) {
        timer.set(deadline);
    }
}

/// Removes keys that are past their deadlines, and sets the timer to the next deadline.
pub(crate) fn remove_due(ctx: &Context) {
    let mut changes = Changes::new(ctx);
    changes.remove_due(REMOVED_MAX);
    changes.write();
    if let Some(next) = store::soonest_deadline(ctx) {
        ctx.timer(TIMER).set(next);
    }
}

/// A time as callers give it.
#[derive(Clone, Copy)]
pub(crate) enum Given {
    /// `EX`: seconds from now.
    Seconds(i64),
    /// `PX`: milliseconds from now.
    Millis(i64),
    /// `EXAT`: a time in seconds since the Unix epoch.
    AtSeconds(i64),
    /// `PXAT`: a time in milliseconds since the Unix epoch.
    AtMillis(i64),
}

impl Given {
    /// The one of the four keywords that was given, if any.
    pub(crate) fn one_of(
        seconds: Option<i64>,
        millis: Option<i64>,
        at_seconds: Option<i64>,
        at_millis: Option<i64>,
    ) -> Result<Option<Given>> {
        let mut given = [
            seconds.map(Given::Seconds),
            millis.map(Given::Millis),
            at_seconds.map(Given::AtSeconds),
            at_millis.map(Given::AtMillis),
        ]
        .into_iter()
        .flatten();
        match (given.next(), given.next()) {
            (one, None) => Ok(one),
            _ => Err(errors::syntax()),
        }
    }

    /// The deadline; the epoch for one before it. Redis refuses what leaves its range, which is
    /// that of `i64` in milliseconds.
    pub(crate) fn deadline(self, view: &View, command: &str) -> Result<Time> {
        let now = view.now();
        let in_range =
            |millis: Option<i64>| millis.ok_or_else(|| errors::invalid_expire_time(command));
        let after_now = |millis: i64| {
            in_range(millis.checked_add(now.as_millis() as i64))?;
            let distance = Duration::from_millis(millis.unsigned_abs());
            Ok(if millis < 0 {
                now - distance
            } else {
                now + distance
            })
        };
        let at = |millis: i64| Time::from_millis(u64::try_from(millis).unwrap_or(0));
        match self {
            Given::Seconds(seconds) => after_now(in_range(seconds.checked_mul(1000))?),
            Given::Millis(millis) => after_now(millis),
            Given::AtSeconds(seconds) => Ok(at(in_range(seconds.checked_mul(1000))?)),
            Given::AtMillis(millis) => Ok(at(millis)),
        }
    }

    /// As [`Given::deadline`], for commands that take no time that is zero or negative.
    pub(crate) fn positive_deadline(self, view: &View, command: &str) -> Result<Time> {
        let (Given::Seconds(number)
        | Given::Millis(number)
        | Given::AtSeconds(number)
        | Given::AtMillis(number)) = self;
        if number <= 0 {
            return Err(errors::invalid_expire_time(command));
        }
        self.deadline(view, command)
    }
}
