//! A counter that many clients add to.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt::{self, Display, Formatter};

use crate::operation::Operation;

/// Up to how many different sums are told apart, to bound the work.
const SUMS_MAX: usize = 1 << 14;

/// The counter is not what the increments make of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What the counter was before.
    pub start: i64,
    /// What was found.
    pub found: i64,
    /// The smallest sum that is possible.
    pub least: i64,
    /// The largest sum that is possible.
    pub most: i64,
    /// How many increments were acknowledged, and their sum.
    pub acknowledged: (usize, i64),
    /// How many increments have an unknown outcome, and their sum.
    pub unknown: (usize, i64),
}

/// Checks the final value of a counter against the increments that were made.
///
/// The value must be the start, plus all acknowledged increments, plus some of the unknown ones.
/// With many unknown increments of many different sizes only the bounds are checked. Which
/// answers the increments gave is not looked at: [`linearize`](crate::linearize) does that.
pub fn check<O>(start: i64, increments: &[Operation<i64, O>], found: i64) -> Result<(), Violation> {
    let (acknowledged, unknown): (Vec<_>, Vec<_>) = increments
        .iter()
        .partition(|increment| increment.outcome.is_some());
    let amounts = |of: &[&Operation<i64, O>]| -> Vec<i64> {
        of.iter().map(|increment| increment.input).collect()
    };
    let (acknowledged, unknown) = (amounts(&acknowledged), amounts(&unknown));
    let certain = start + acknowledged.iter().sum::<i64>();
    let least = certain + unknown.iter().filter(|by| **by < 0).sum::<i64>();
    let most = certain + unknown.iter().filter(|by| **by > 0).sum::<i64>();

    let is_possible = (least..=most).contains(&found)
        && sums(certain, &unknown).is_none_or(|sums| sums.contains(&found));
    if is_possible {
        return Ok(());
    }
    Err(Violation {
        start,
        found,
        least,
        most,
        acknowledged: (acknowledged.len(), acknowledged.iter().sum()),
        unknown: (unknown.len(), unknown.iter().sum()),
    })
}

/// All sums that some of the unknown increments make; `None` when they are too many.
fn sums(certain: i64, unknown: &[i64]) -> Option<BTreeSet<i64>> {
    let mut sums = BTreeSet::from([certain]);
    for by in unknown {
        let with: Vec<i64> = sums.iter().map(|sum| sum + by).collect();
        sums.extend(with);
        if sums.len() > SUMS_MAX {
            return None;
        }
    }
    Some(sums)
}

impl Display for Violation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Violation {
            start,
            found,
            least,
            most,
            acknowledged,
            unknown,
        } = self;
        let what = if found < least {
            "an acknowledged increment was lost"
        } else if found > most {
            "an increment took effect twice"
        } else {
            "no set of the unknown increments explains the counter"
        };
        write!(
            f,
            "{what}: from {start}, {} acknowledged add {} and {} unknown may add {}, \
             which makes {least} to {most}; found {found}",
            acknowledged.0, acknowledged.1, unknown.0, unknown.1
        )
    }
}

impl Error for Violation {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::Recorder;

    fn history(acknowledged: &[i64], unknown: &[i64]) -> Vec<Operation<i64, ()>> {
        let mut recorder = Recorder::new();
        for by in acknowledged {
            let id = recorder.invoke(1, *by);
            recorder.complete(id, ());
        }
        for by in unknown {
            recorder.invoke(2, *by);
        }
        recorder.into_history()
    }

    #[test]
    fn unknown_increments_count_or_do_not() {
        let history = history(&[1, 1, 1], &[1, 1]);
        for found in 13..=15 {
            assert_eq!(check(10, &history, found), Ok(()));
        }
    }

    #[test]
    fn a_lost_and_a_doubled_increment_are_found() {
        let history = history(&[1, 1, 1], &[1]);
        let lost = check(0, &history, 2).unwrap_err();
        assert_eq!(
            lost.to_string(),
            "an acknowledged increment was lost: from 0, 3 acknowledged add 3 and 1 unknown may \
             add 1, which makes 3 to 4; found 2"
        );
        let doubled = check(0, &history, 5).unwrap_err();
        assert!(
            doubled
                .to_string()
                .starts_with("an increment took effect twice")
        );
    }

    #[test]
    fn a_doubled_increment_shows_between_the_bounds_too() {
        // 7 twice leaves 14, which 7 with or without 10 does not.
        let history = history(&[7], &[10]);
        assert_eq!(check(0, &history, 7), Ok(()));
        assert_eq!(check(0, &history, 17), Ok(()));
        let doubled = check(0, &history, 14).unwrap_err();
        assert!(doubled.to_string().starts_with("no set of the unknown"));
    }

    #[test]
    fn decrements_count_downwards() {
        let history = history(&[5, -2], &[-3, 4]);
        for found in [3, 0, 7, 4] {
            assert_eq!(check(0, &history, found), Ok(()));
        }
        for found in [-1, 8] {
            assert!(check(0, &history, found).is_err());
        }
    }

    #[test]
    fn many_unknown_increments_of_many_sizes_are_held_to_the_bounds() {
        let sizes: Vec<i64> = (0..40).map(|bit| 1 << bit).collect();
        let history = history(&[], &sizes);
        assert_eq!(check(0, &history, 12_345), Ok(()));
        assert!(check(0, &history, 1 << 40).is_err());
        assert!(check(0, &history, -1).is_err());
    }
}
