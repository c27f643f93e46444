//! Commands on deadlines: set, remove, ask.

use hostd_sdk::prelude::*;

use crate::errors;
use crate::expiry::Given;
use crate::store::{self, Changes, Record};

pub(crate) struct Deadlines;

#[commands]
impl Deadlines {
    /// Sets a key's deadline that many seconds from now: 1 when it was set, 0 when the key does
    /// not exist or the condition does not hold.
    ///
    /// NX sets only where there is no deadline, XX only where there is one, GT only a later one,
    /// LT only an earlier one; no deadline is later than all. A time in the past removes the key.
    #[write(example = "expire session 3600")]
    fn expire(
        ctx: &Context,
        key: Key,
        seconds: i64,
        #[flag("NX")] nx: bool,
        #[flag("XX")] xx: bool,
        #[flag("GT")] gt: bool,
        #[flag("LT")] lt: bool,
    ) -> Result<bool> {
        let condition = Condition { nx, xx, gt, lt };
        set_deadline(ctx, key, Given::Seconds(seconds), "expire", condition)
    }

    /// Sets a key's deadline that many milliseconds from now, else as EXPIRE.
    #[write(example = "pexpire session 1500")]
    fn pexpire(
        ctx: &Context,
        key: Key,
        milliseconds: i64,
        #[flag("NX")] nx: bool,
        #[flag("XX")] xx: bool,
        #[flag("GT")] gt: bool,
        #[flag("LT")] lt: bool,
    ) -> Result<bool> {
        let condition = Condition { nx, xx, gt, lt };
        set_deadline(ctx, key, Given::Millis(milliseconds), "pexpire", condition)
    }

    /// Sets a key's deadline to a Unix time in seconds, else as EXPIRE.
    #[write(example = "expireat session 1900000000")]
    fn expireat(
        ctx: &Context,
        key: Key,
        unix_seconds: i64,
        #[flag("NX")] nx: bool,
        #[flag("XX")] xx: bool,
        #[flag("GT")] gt: bool,
        #[flag("LT")] lt: bool,
    ) -> Result<bool> {
        let condition = Condition { nx, xx, gt, lt };
        set_deadline(
            ctx,
            key,
            Given::AtSeconds(unix_seconds),
            "expireat",
            condition,
        )
    }

    /// Sets a key's deadline to a Unix time in milliseconds, else as EXPIRE.
    #[write(example = "pexpireat session 1900000000000")]
    fn pexpireat(
        ctx: &Context,
        key: Key,
        unix_milliseconds: i64,
        #[flag("NX")] nx: bool,
        #[flag("XX")] xx: bool,
        #[flag("GT")] gt: bool,
        #[flag("LT")] lt: bool,
    ) -> Result<bool> {
        let condition = Condition { nx, xx, gt, lt };
        set_deadline(
            ctx,
            key,
            Given::AtMillis(unix_milliseconds),
            "pexpireat",
            condition,
        )
    }

    /// Removes a key's deadline: 1 when there was one, else 0.
    #[write(example = "persist session")]
    fn persist(ctx: &Context, key: Key) -> bool {
        let mut changes = Changes::new(ctx);
        let (slot, old) = changes.open(key);
        let Some(old) = old.filter(|old| old.deadline.is_some()) else {
            return false;
        };
        let kept = Record {
            deadline: None,
            ..old
        };
        changes.set(slot, kept);
        changes.write();
        true
    }

    /// Seconds until a key's deadline; -1 when it has none, -2 when it does not exist.
    #[read(example = "ttl session")]
    fn ttl(view: &View, key: Key) -> i64 {
        ask(view, &key, |deadline| {
            round_to_seconds(millis_left(view, deadline))
        })
    }

    /// Milliseconds until a key's deadline; -1 when it has none, -2 when it does not exist.
    #[read(example = "pttl session")]
    fn pttl(view: &View, key: Key) -> i64 {
        ask(view, &key, |deadline| millis_left(view, deadline))
    }

    /// A key's deadline as a Unix time in seconds; -1 when it has none, -2 when it does not exist.
    #[read(example = "expiretime session")]
    fn expiretime(view: &View, key: Key) -> i64 {
        ask(view, &key, |deadline| {
            round_to_seconds(unix_millis(deadline))
        })
    }

    /// A key's deadline as a Unix time in milliseconds; -1 when it has none, -2 when it does not
    /// exist.
    #[read(example = "pexpiretime session")]
    fn pexpiretime(view: &View, key: Key) -> i64 {
        ask(view, &key, unix_millis)
    }
}

/// When `EXPIRE` and its like set a deadline.
#[derive(Clone, Copy)]
struct Condition {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl Condition {
    fn check(self) -> Result<()> {
        if self.nx && (self.xx || self.gt || self.lt) {
            return Err(errors::nx_excludes_others());
        }
        if self.gt && self.lt {
            return Err(errors::gt_excludes_lt());
        }
        Ok(())
    }

    fn holds(self, old: Option<Time>, new: Time) -> bool {
        // No deadline counts as one that never comes.
        let is_later = old.is_some_and(|old| new > old);
        let is_earlier = old.is_none_or(|old| new < old);
        let hinders = (self.nx && old.is_some())
            || (self.xx && old.is_none())
            || (self.gt && !is_later)
            || (self.lt && !is_earlier);
        !hinders
    }
}

fn set_deadline(
    ctx: &Context,
    key: Key,
    given: Given,
    command: &str,
    condition: Condition,
) -> Result<bool> {
    condition.check()?;
    let deadline = given.deadline(ctx, command)?;
    let mut changes = Changes::new(ctx);
    let (slot, old) = changes.open(key);
    let Some(old) = old.filter(|old| condition.holds(old.deadline, deadline)) else {
        return Ok(false);
    };
    let moved = Record {
        deadline: Some(deadline),
        ..old
    };
    changes.set(slot, moved);
    changes.write();
    Ok(true)
}

/// Answers a question about a key's deadline as Redis does.
fn ask(view: &View, key: &[u8], answer: impl FnOnce(Time) -> i64) -> i64 {
    match store::get(view, key) {
        None => -2,
        Some(record) => record.deadline.map_or(-1, answer),
    }
}

/// Milliseconds until a deadline, a begun one counted whole: never 0 for a key that exists.
fn millis_left(view: &View, deadline: Time) -> i64 {
    whole_millis(deadline.since(view.now()))
}

/// A deadline in milliseconds since the Unix epoch, a begun one counted whole.
fn unix_millis(deadline: Time) -> i64 {
    whole_millis(deadline.since(Time::EPOCH))
}

fn whole_millis(duration: Duration) -> i64 {
    duration.as_nanos().div_ceil(1_000_000) as i64
}

/// Half a second and more counts as one, as Redis rounds.
fn round_to_seconds(millis: i64) -> i64 {
    (millis + 500) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_deadline_is_later_than_all() {
        let time = Time::from_secs;
        let condition = |words: &str| Condition {
            nx: words.contains("NX"),
            xx: words.contains("XX"),
            gt: words.contains("GT"),
            lt: words.contains("LT"),
        };
        for (words, old, new, holds) in [
            ("", None, 5, true),
            ("NX", None, 5, true),
            ("NX", Some(4), 5, false),
            ("XX", None, 5, false),
            ("XX", Some(4), 5, true),
            ("GT", None, 5, false),
            ("GT", Some(4), 5, true),
            ("GT", Some(5), 5, false),
            ("LT", None, 5, true),
            ("LT", Some(6), 5, true),
            ("LT", Some(5), 5, false),
            ("XX LT", None, 5, false),
        ] {
            let old = old.map(time);
            assert_eq!(
                condition(words).holds(old, time(new)),
                holds,
                "{words} {old:?}"
            );
        }
    }
}
