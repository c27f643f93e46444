//! Every ticket goes to one caller, one taken later is larger, and none is lost unless a caller
//! does not know whether it took one.

use anyhow::{Result, ensure};
use std::collections::BTreeMap;
use std::time::Duration;

use crate::workload::{Call, Outcome};

pub(super) fn check(calls: &[Call<(), i64>]) -> Result<()> {
    let mut taken: BTreeMap<i64, &Call<(), i64>> = BTreeMap::new();
    for call in calls {
        if let Outcome::Ok(number) = call.outcome
            && let Some(other) = taken.insert(number, call)
        {
            anyhow::bail!("ticket {number} was given out twice: {other:?} and {call:?}");
        }
    }
    rising(&taken)?;
    let largest = taken.keys().next_back().copied().unwrap_or(0);
    let missing = largest - taken.len() as i64;
    let unknown = calls.iter().filter(|call| call.outcome == Outcome::Unknown);
    let unknown = unknown.count() as i64;
    ensure!(
        missing <= unknown,
        "{missing} tickets up to {largest} went to nobody, and only {unknown} callers do not know"
    );
    Ok(())
}

fn rising(taken: &BTreeMap<i64, &Call<(), i64>>) -> Result<()> {
    // From the largest number down: nobody may have begun after one with a larger number ended.
    let mut ended: Option<(Duration, i64)> = None;
    for (number, call) in taken.iter().rev() {
        if let Some((ended, larger)) = ended {
            ensure!(
                call.began <= ended,
                "ticket {number} was asked for after ticket {larger} had arrived"
            );
        }
        if ended.is_none_or(|(earliest, _)| call.ended < earliest) {
            ended = Some((call.ended, *number));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::calls;

    const fn got(number: i64) -> Outcome<i64> {
        Outcome::Ok(number)
    }

    #[test]
    fn overlapping_callers_may_be_served_in_any_order() {
        check(&calls(&[
            (0, 10, (), got(2)),
            (5, 15, (), got(1)),
            (16, 20, (), got(3)),
        ]))
        .unwrap();
    }

    #[test]
    fn what_must_not_be_is_found() {
        let twice = [(0, 1, (), got(1)), (0, 2, (), got(1))];
        let sinking = [(0, 1, (), got(2)), (2, 3, (), got(1))];
        let lost = [(0, 1, (), got(1)), (2, 3, (), got(3))];
        for bad in [twice, sinking, lost] {
            assert!(check(&calls(&bad)).is_err(), "{bad:?}");
        }
        let unknown = [
            (0, 1, (), got(1)),
            (0, 9, (), Outcome::Unknown),
            (2, 3, (), got(3)),
        ];
        check(&calls(&unknown)).unwrap();
    }
}
