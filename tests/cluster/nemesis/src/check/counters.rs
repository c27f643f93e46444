//! Every acknowledged increment counts once, one of unknown outcome once or not at all, a refused
//! one not at all; and counts rise in real time.

use anyhow::{Result, ensure};
use std::collections::BTreeSet;
use std::time::Duration;

use crate::workload::{Call, Counter, Outcome};

pub(super) fn check(calls: &[Call<Counter, i64>]) -> Result<()> {
    let mut answered: Vec<(&Call<Counter, i64>, i64)> = Vec::new();
    let (mut acknowledged, mut unknown) = (0, 0);
    let mut counts = BTreeSet::new();
    for call in calls {
        match (&call.outcome, call.operation.increments) {
            (Outcome::Ok(count), true) => {
                ensure!(
                    counts.insert(*count),
                    "two increments made it {count}: {call:?}"
                );
                acknowledged += 1;
                answered.push((call, *count));
            }
            (Outcome::Ok(count), false) => answered.push((call, *count)),
            (Outcome::Unknown, true) => unknown += 1,
            _ => {}
        }
    }
    rising(&mut answered)?;
    let last = answered.iter().map(|(_, count)| *count).max().unwrap_or(0);
    ensure!(
        (acknowledged..=acknowledged + unknown).contains(&last),
        "{acknowledged} increments are acknowledged and {unknown} unknown, and the counter is {last}"
    );
    Ok(())
}

/// What is asked for after an answer is not smaller; larger, when it is an increment.
fn rising(answered: &mut [(&Call<Counter, i64>, i64)]) -> Result<()> {
    let mut by_end = answered.to_vec();
    by_end.sort_by_key(|(call, _)| call.ended);
    answered.sort_by_key(|(call, _)| call.began);
    let mut ended = by_end.iter().peekable();
    let mut largest = (0, Duration::ZERO);
    for (call, count) in answered.iter() {
        while let Some((earlier, count)) = ended.next_if(|(earlier, _)| earlier.ended < call.began)
        {
            largest = largest.max((*count, earlier.ended));
        }
        let low = largest.0 + i64::from(call.operation.increments);
        ensure!(
            *count >= low,
            "it was {} at {:?}, and later {call:?}",
            largest.0,
            largest.1
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::calls;

    fn operation(increments: bool) -> Counter {
        Counter {
            key: "k".into(),
            increments,
        }
    }

    #[test]
    fn unknown_increments_may_count() {
        let list = |last| {
            [
                (0, 1, operation(true), Outcome::Ok(1)),
                (2, 3, operation(true), Outcome::Unknown),
                (4, 5, operation(false), Outcome::Ok(last)),
            ]
        };
        check(&calls(&list(1))).unwrap();
        check(&calls(&list(2))).unwrap();
        assert!(check(&calls(&list(0))).is_err(), "one is lost");
        assert!(check(&calls(&list(3))).is_err(), "one counts twice");
    }

    #[test]
    fn two_increments_do_not_make_the_same() {
        let twice = (0, 9, operation(true), Outcome::Ok(1));
        assert!(check(&calls(&[twice.clone(), twice])).is_err());
    }
}
