//! A counter: each acknowledged increment took effect exactly once, each unknown one at most once.

use std::collections::BTreeSet;

use crate::Operation;

/// Judges increments by one, given the counter's value after all of them. Answers are the value
/// after the increment.
///
/// # Errors
/// What cannot be.
pub fn check(history: &[Operation<(), i64>], last: i64) -> Result<(), String> {
    let acknowledged: Vec<i64> = history
        .iter()
        .filter_map(|operation| operation.returned.as_ref().map(|(_, value)| *value))
        .collect();
    let unknown = (history.len() - acknowledged.len()) as i64;
    let known = acknowledged.len() as i64;
    if last < known || last > known + unknown {
        return Err(format!(
            "the counter is at {last} after {known} acknowledged increments and {unknown} of unknown outcome"
        ));
    }
    let mut seen = BTreeSet::new();
    for value in acknowledged {
        if value < 1 || value > last {
            return Err(format!(
                "an increment gave {value}, but the counter is at {last}"
            ));
        }
        if !seen.insert(value) {
            return Err(format!("two increments gave {value}"));
        }
    }
    // Increments by one and nothing else are tickets as well.
    crate::tickets::check(history)
}
