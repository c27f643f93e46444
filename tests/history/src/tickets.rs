//! Tickets: no number twice, and a later ticket has a larger number.

use crate::Operation;

/// Judges who got which ticket.
///
/// # Errors
/// Two operations that contradict each other.
pub fn check(history: &[Operation<(), i64>]) -> Result<(), String> {
    let answered = history.iter().filter_map(|operation| {
        operation
            .returned
            .as_ref()
            .map(|answer| (operation, answer))
    });
    let mut by_number: Vec<_> = answered.collect();
    by_number.sort_by_key(|(_, (_, number))| *number);
    for pair in by_number.windows(2) {
        let ((one, (_, number)), (other, (_, next))) = (pair[0], pair[1]);
        if number == next {
            return Err(format!(
                "ticket {number} was given twice: to client {} and to client {}",
                one.client, other.client
            ));
        }
    }
    // By rising number, each must be invoked after no larger one has returned.
    let mut soonest: Option<(u64, i64)> = None;
    for (operation, (returned, number)) in by_number.into_iter().rev() {
        if let Some((before, larger)) = soonest
            && before < operation.invoked
        {
            return Err(format!(
                "ticket {number} was asked for (event {}) after ticket {larger} had been given (event \
                 {before})",
                operation.invoked
            ));
        }
        if soonest.is_none_or(|(before, _)| *returned < before) {
            soonest = Some((*returned, *number));
        }
    }
    Ok(())
}
