//! A key that is gone stays so; and while all clocks are right, none is gone too early.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::workload::{Call, Expiry, ExpiryAnswer, Outcome};

/// How much earlier than its time a key may be gone: clocks of nodes on one machine are the same,
/// and times are counted in whole milliseconds.
const ROUNDING: Duration = Duration::from_millis(2);

/// Each key is set once.
pub(super) fn check(calls: &[Call<Expiry, ExpiryAnswer>], clocks_are_right: bool) -> Result<()> {
    let set = calls.iter().find(|call| call.operation.set_for.is_some());
    let acknowledged = set.filter(|set| matches!(set.outcome, Outcome::Ok(_)));
    let reads = |present: bool| {
        calls
            .iter()
            .filter(move |call| call.outcome == Outcome::Ok(ExpiryAnswer::Present(present)))
    };
    if let Some(set) = set.filter(|set| set.outcome == Outcome::Refused) {
        ensure!(
            reads(true).next().is_none(),
            "it was refused and is there: {set:?}"
        );
    }
    let Some((set, live)) = acknowledged.and_then(|set| Some((set, set.operation.set_for?))) else {
        return Ok(());
    };
    for gone in reads(false).filter(|gone| gone.began > set.ended) {
        let back = reads(true).find(|read| read.began > gone.ended);
        ensure!(
            back.is_none(),
            "it was gone and is back: {gone:?}, {back:?}"
        );
        ensure!(
            !clocks_are_right || gone.ended + ROUNDING >= set.began + live,
            "it is gone too early: {set:?}, {gone:?}"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::calls;

    fn key(set_for: Option<u64>) -> Expiry {
        Expiry {
            key: "k".into(),
            set_for: set_for.map(Duration::from_millis),
        }
    }

    fn present(present: bool) -> Outcome<ExpiryAnswer> {
        Outcome::Ok(ExpiryAnswer::Present(present))
    }

    #[test]
    fn a_key_that_comes_back_or_goes_early_is_found() {
        let set = (0, 1, key(Some(100)), Outcome::Ok(ExpiryAnswer::Done));
        let right = [
            set.clone(),
            (50, 51, key(None), present(true)),
            (101, 102, key(None), present(false)),
        ];
        check(&calls(&right), true).unwrap();
        let back = [&right[..], &[(103, 104, key(None), present(true))]].concat();
        assert!(check(&calls(&back), false).is_err());
        let early = [set, (50, 51, key(None), present(false))];
        assert!(check(&calls(&early), true).is_err());
        check(&calls(&early), false).unwrap();
    }
}
