//! What clients of the `ticket` plugin may rely on: every ticket goes to one caller, and a
//! ticket taken later is larger.

use std::time::Instant;

use anyhow::{Result, bail};

/// One ticket, and when its caller asked for it and had it.
#[derive(Clone, Copy, Debug)]
pub struct Ticket {
    /// When the call began.
    pub began: Instant,
    /// When its reply arrived.
    pub ended: Instant,
    /// The reply.
    pub number: i64,
}

/// Every ticket that anybody got.
#[derive(Clone, Debug, Default)]
pub struct Tickets(pub Vec<Ticket>);

impl Tickets {
    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Numbers below the largest that nobody got. Each is the ticket of a caller who was told
    /// that the outcome is unknown, or it is lost.
    pub fn missing(&self) -> Vec<i64> {
        let mut numbers: Vec<i64> = self.0.iter().map(|ticket| ticket.number).collect();
        numbers.sort_unstable();
        let mut expected = 1;
        let mut missing = Vec::new();
        for number in numbers {
            missing.extend(expected..number);
            expected = number + 1;
        }
        missing
    }

    /// Numbers that more than one caller got.
    pub fn repeated(&self) -> Vec<i64> {
        let mut numbers: Vec<i64> = self.0.iter().map(|ticket| ticket.number).collect();
        numbers.sort_unstable();
        let mut repeated: Vec<i64> = numbers
            .windows(2)
            .filter(|pair| pair[0] == pair[1])
            .map(|pair| pair[0])
            .collect();
        repeated.dedup();
        repeated
    }

    /// Pairs of tickets where the second was asked for after the first had arrived, and is not
    /// larger: the earlier one with the largest number, and the offender.
    pub fn out_of_order(&self) -> Vec<(i64, i64)> {
        let mut by_begin = self.0.clone();
        by_begin.sort_by_key(|ticket| ticket.began);
        let mut by_end = self.0.clone();
        by_end.sort_by_key(|ticket| ticket.ended);
        let mut arrived = by_end.iter().peekable();
        let mut largest = i64::MIN;
        let mut offenders = Vec::new();
        for ticket in by_begin {
            while let Some(earlier) = arrived.next_if(|earlier| earlier.ended < ticket.began) {
                largest = largest.max(earlier.number);
            }
            if ticket.number <= largest {
                offenders.push((largest, ticket.number));
            }
        }
        offenders
    }

    /// Checks that none is repeated or out of order.
    pub fn check(&self) -> Result<()> {
        let (repeated, out_of_order) = (self.repeated(), self.out_of_order());
        if !repeated.is_empty() {
            bail!("tickets given out twice: {repeated:?}");
        }
        if !out_of_order.is_empty() {
            bail!("tickets taken later but not larger (earlier, later): {out_of_order:?}");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn tickets(calls: &[(u64, u64, i64)]) -> Tickets {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let ticket = |&(began, ended, number)| Ticket {
            began: at(began),
            ended: at(ended),
            number,
        };
        Tickets(calls.iter().map(ticket).collect())
    }

    #[test]
    fn overlapping_calls_may_be_served_in_any_order() {
        let tickets = tickets(&[(0, 10, 2), (5, 15, 1), (16, 20, 3)]);
        tickets.check().unwrap();
        assert!(tickets.missing().is_empty());
    }

    #[test]
    fn a_later_call_with_a_smaller_number_is_found() {
        let tickets = tickets(&[(0, 10, 5), (11, 12, 4), (13, 14, 6)]);
        assert_eq!(tickets.out_of_order(), [(5, 4)]);
        assert!(tickets.check().is_err());
    }

    #[test]
    fn repeated_and_missing_numbers_are_named() {
        let tickets = tickets(&[(0, 10, 1), (0, 11, 3), (0, 12, 3), (0, 13, 6)]);
        assert_eq!(tickets.repeated(), [3]);
        assert_eq!(tickets.missing(), [2, 4, 5]);
    }
}
