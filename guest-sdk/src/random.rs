//! Random numbers, equal on every replica.

use core::marker::PhantomData;
use core::ops::Range;

use crate::bindings::hostd::plugin::random;

/// The running command's random numbers, from [`View::random`](crate::View::random).
///
/// Clients cannot predict them, yet every replica draws the same. Not for keys or other secrets:
/// who can read the log can draw them again.
#[derive(Clone, Copy, Debug)]
pub struct Random<'ctx>(PhantomData<&'ctx ()>);

impl Random<'_> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }

    /// A uniformly distributed number.
    pub fn next(&self) -> u64 {
        random::next()
    }

    /// A uniformly distributed number below `bound`.
    ///
    /// # Panics
    /// When `bound` is 0.
    pub fn below(&self, bound: u64) -> u64 {
        below(bound, random::next)
    }

    /// A uniformly distributed number in `range`.
    ///
    /// # Panics
    /// When the range is empty.
    pub fn range(&self, range: Range<u64>) -> u64 {
        assert!(range.start < range.end, "cannot draw from an empty range");
        range.start + self.below(range.end - range.start)
    }

    /// Uniformly distributed bytes.
    pub fn bytes(&self, length: usize) -> Vec<u8> {
        /// The host's bound for one call.
        const BYTES_MAX: usize = 64 << 10;
        if length <= BYTES_MAX {
            return random::bytes(length as u32);
        }
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let missing = (length - bytes.len()).min(BYTES_MAX);
            bytes.extend_from_slice(&random::bytes(missing as u32));
        }
        bytes
    }

    /// One of the items, each with the same chance; `None` when there is none.
    pub fn choose<'items, T>(&self, items: &'items [T]) -> Option<&'items T> {
        if items.is_empty() {
            return None;
        }
        items.get(self.below(items.len() as u64) as usize)
    }

    /// Puts the items in random order, each order with the same chance.
    pub fn shuffle<T>(&self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

/// A number below `bound` from numbers over all of `u64`, without favouring any: Lemire's
/// multiplication (<https://arxiv.org/abs/1805.10941>, algorithm 5).
fn below(bound: u64, mut draw: impl FnMut() -> u64) -> u64 {
    assert!(bound > 0, "cannot draw a number below 0");
    let mut product = u128::from(draw()) * u128::from(bound);
    if (product as u64) < bound {
        // How many low halves would favour a number.
        let surplus = bound.wrapping_neg() % bound;
        while (product as u64) < surplus {
            product = u128::from(draw()) * u128::from(bound);
        }
    }
    (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_that_would_favour_a_number_are_drawn_again() {
        // 2^64 = 3 * (2^64 / 3) + 1, so one draw of 2^64 is surplus: 0.
        let mut draws = [0, u64::MAX].into_iter();
        assert_eq!(below(3, || draws.next().unwrap()), 2);
        assert_eq!(draws.next(), None);
    }

    #[test]
    fn every_number_below_the_bound_comes_equally_often() {
        // Draws spread evenly over u64 must spread evenly over the bound.
        let mut draw = (0..6001u64).map(|step| step * (u64::MAX / 6000));
        let mut counts = [0u32; 6];
        for _ in 0..6000 {
            counts[below(6, || draw.next().unwrap()) as usize] += 1;
        }
        assert!(
            counts.iter().all(|count| (999..=1001).contains(count)),
            "{counts:?}"
        );
    }
}
