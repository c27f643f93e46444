//! Tickets: integers that are handed out once each, rising.
//!
//! Operations of unknown outcome may have taken tickets that nobody saw, so gaps are fine.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::{self, Debug, Display, Formatter};

use crate::operation::Operation;

/// What is wrong with the tickets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation<I> {
    /// Two operations got the same ticket.
    Duplicate(Operation<I, i64>, Operation<I, i64>),
    /// The second operation began after the first had returned, and got a smaller ticket.
    Fell(Operation<I, i64>, Operation<I, i64>),
}

/// Checks that tickets are unique, and that whoever asks after another's ticket is known gets a
/// larger one.
pub fn check<I: Clone>(history: &[Operation<I, i64>]) -> Result<(), Violation<I>> {
    let mut taken = BTreeMap::new();
    // The operations in the order in which they returned, and in which they were invoked.
    let mut returned = Vec::new();
    for operation in history {
        let Some(outcome) = &operation.outcome else {
            continue;
        };
        if let Some(other) = taken.insert(outcome.output, operation) {
            return Err(Violation::Duplicate(other.clone(), operation.clone()));
        }
        returned.push((outcome.returned, outcome.output, operation));
    }
    let mut invoked = returned.clone();
    returned.sort_by_key(|(at, _, _)| *at);
    invoked.sort_by_key(|(_, _, operation)| operation.invoked);

    let mut returned = returned.into_iter().peekable();
    let mut largest: Option<(i64, &Operation<I, i64>)> = None;
    for (_, ticket, operation) in invoked {
        while let Some((_, ticket, earlier)) =
            returned.next_if(|(at, _, _)| *at < operation.invoked)
        {
            if largest.is_none_or(|(largest, _)| largest < ticket) {
                largest = Some((ticket, earlier));
            }
        }
        if let Some((_, earlier)) = largest.filter(|(largest, _)| *largest > ticket) {
            return Err(Violation::Fell(earlier.clone(), operation.clone()));
        }
    }
    Ok(())
}

impl<I: Debug> Display for Violation<I> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (what, first, second) = match self {
            Violation::Duplicate(first, second) => ("a ticket was given twice", first, second),
            Violation::Fell(first, second) => ("a later ticket is smaller", first, second),
        };
        write!(f, "{what}:\n  {first}\n  {second}")
    }
}

impl<I: Debug> Error for Violation<I> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::Outcome;

    /// Intervals with tickets; 0 for a return that is unknown.
    fn history(operations: &[(u64, u64, i64)]) -> Vec<Operation<(), i64>> {
        let operation = |(id, &(invoked, returned, ticket)): (usize, &(u64, u64, i64))| Operation {
            client: 1,
            id: id as u64,
            invoked,
            input: (),
            outcome: (returned > 0).then_some(Outcome {
                returned,
                output: ticket,
            }),
        };
        operations.iter().enumerate().map(operation).collect()
    }

    #[test]
    fn concurrent_tickets_come_in_any_order() {
        let history = history(&[(1, 4, 2), (2, 3, 1), (5, 0, 0), (6, 9, 5), (7, 8, 4)]);
        assert_eq!(check(&history), Ok(()));
    }

    #[test]
    fn a_ticket_given_twice_is_found() {
        let history = history(&[(1, 2, 1), (3, 6, 2), (4, 5, 2)]);
        let violation = check(&history).unwrap_err();
        assert_eq!(
            violation,
            Violation::Duplicate(history[1].clone(), history[2].clone())
        );
        assert_eq!(
            violation.to_string(),
            "a ticket was given twice:\n  \
             [    3..    6] client 1 #1 () -> 2\n  \
             [    4..    5] client 1 #2 () -> 2"
        );
    }

    #[test]
    fn a_later_smaller_ticket_is_found() {
        // The second overlaps both others; the third comes after the first alone.
        let history = history(&[(1, 3, 7), (2, 9, 9), (5, 6, 6), (7, 8, 8)]);
        assert_eq!(
            check(&history),
            Err(Violation::Fell(history[0].clone(), history[2].clone()))
        );
    }

    #[test]
    fn the_largest_earlier_ticket_counts_not_the_last() {
        let history = history(&[(1, 4, 9), (2, 5, 3), (6, 7, 4)]);
        assert_eq!(
            check(&history),
            Err(Violation::Fell(history[0].clone(), history[2].clone()))
        );
    }
}
