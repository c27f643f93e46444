//! A checker that is slow and plainly right: it tries every order.

use std::collections::BTreeSet;

use hostd_history::Model;
use hostd_history::register::{Register, Value};

use crate::notation::Registered;

/// Whether some order explains the history. For a dozen operations on one key at most.
pub(crate) fn is_linearizable(history: &[Registered]) -> bool {
    assert!(history.len() < 16, "there are too many orders");
    search(history, 0, &Value(None), &mut BTreeSet::new())
}

fn search(
    history: &[Registered],
    placed: u32,
    state: &Value,
    visited: &mut BTreeSet<(u32, Option<Vec<u8>>)>,
) -> bool {
    if !visited.insert((placed, state.0.clone())) {
        return false;
    }
    let open = |index: &usize| placed & (1 << index) == 0;
    let unplaced = (0..history.len()).filter(open);
    if unplaced
        .clone()
        .all(|index| history[index].outcome.is_none())
    {
        return true;
    }
    unplaced.clone().any(|next| {
        let operation = &history[next];
        let must_wait = unplaced
            .clone()
            .any(|other| history[other].precedes(operation));
        let after = Register.step(state, &operation.input, operation.output());
        !must_wait
            && after.is_some_and(|after| search(history, placed | 1 << next, &after, visited))
    })
}
