//! Every decision of a simulation that nobody else makes, drawn from its seed.

use std::ops::RangeInclusive;

use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// A stream of decisions. Parts of a simulation draw from streams of their own, so that one that
/// draws more or less does not change what the others draw.
#[derive(Clone, Debug)]
pub(crate) struct Chance(Pcg64Mcg);

impl Chance {
    /// The stream of `name` in the simulation of `seed`.
    pub(crate) fn new(seed: u64, name: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        hasher.update(name.as_bytes());
        let hash = *hasher.finalize().as_bytes();
        let first: [u8; 16] = hash[..16].try_into().expect("half of 32 bytes");
        Self(Pcg64Mcg::from_seed(first))
    }

    /// Any number.
    pub(crate) fn any(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `limit`, or 0 when `limit` is 0. Modulo is fair enough for limits this small.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.any() % limit.max(1)
    }

    /// A number in a range.
    pub(crate) fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        range.start() + self.below(range.end() - range.start() + 1)
    }

    /// True this many times in a million.
    pub(crate) fn ppm(&mut self, parts: u32) -> bool {
        parts > 0 && self.below(1_000_000) < u64::from(parts)
    }

    /// True `percent` times in a hundred.
    pub(crate) fn percent(&mut self, percent: u32) -> bool {
        self.ppm(percent * 10_000)
    }

    /// One of several.
    pub(crate) fn pick<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        choices.get(usize::try_from(self.below(choices.len() as u64)).unwrap_or(0))
    }

    /// Fills a buffer.
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }
}
