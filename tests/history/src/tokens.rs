//! A list that unique tokens are appended to: each acknowledged one is in it exactly once, each
//! unknown one at most once, nothing else is, and real time is kept.

use std::collections::BTreeMap;

use crate::Operation;

/// Judges appends, given the list after all of them.
///
/// # Errors
/// What cannot be.
pub fn check(history: &[Operation<String, ()>], list: &[String]) -> Result<(), String> {
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for (place, token) in list.iter().enumerate() {
        if places.insert(token, place).is_some() {
            return Err(format!("{token} is in the list twice"));
        }
    }
    let mut placed = Vec::new();
    for operation in history {
        let place = places.remove(operation.input.as_str());
        match (&operation.returned, place) {
            (Some(_), None) => {
                return Err(format!(
                    "{} of client {} was acknowledged and is not in the list",
                    operation.input, operation.client
                ));
            }
            (_, Some(place)) => placed.push((place, operation)),
            (None, None) => {}
        }
    }
    if let Some(stranger) = places.keys().next() {
        return Err(format!(
            "{stranger} is in the list, but nobody put it there"
        ));
    }
    placed.sort_by_key(|(place, _)| *place);
    let mut soonest: Option<(u64, &str)> = None;
    for (_, operation) in placed.into_iter().rev() {
        if let Some((before, later)) = soonest
            && before < operation.invoked
        {
            return Err(format!(
                "{} was acknowledged before {} was asked for, but comes after it",
                later, operation.input
            ));
        }
        if let Some((returned, ())) = operation.returned
            && soonest.is_none_or(|(before, _)| returned < before)
        {
            soonest = Some((returned, &operation.input));
        }
    }
    Ok(())
}
