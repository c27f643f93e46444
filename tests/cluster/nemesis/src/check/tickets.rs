//! Every ticket goes to one caller, one taken later is larger, and none is lost unless a caller
//! does not know whether it took one.

use anyhow::{Result, anyhow, ensure};
use hostd_history::tickets;

use super::history;
use crate::workload::{Call, Outcome};

/// Nobody else may have taken any.
pub(super) fn check(calls: &[Call<(), i64>]) -> Result<()> {
    tickets::check(&history(calls, |()| (), |number| *number)).map_err(|why| anyhow!("{why}"))?;
    let answered = calls.iter().filter_map(|call| match call.outcome {
        Outcome::Ok(number) => Some(number),
        _ => None,
    });
    let missing = answered.clone().max().unwrap_or(0) - answered.count() as i64;
    let unknown = calls.iter().filter(|call| call.outcome == Outcome::Unknown);
    let unknown = unknown.count() as i64;
    ensure!(
        missing <= unknown,
        "{missing} tickets went to nobody, and only {unknown} callers do not know"
    );
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
