//! The generator behind `random`: PCG (O'Neill, "PCG: A Family of Simple Fast
//! Space-Efficient Statistically Good Algorithms for Random Number Generation", 2014), seeded
//! anew for every command.

use hostd_planted::{self as planted, Bug};
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64;

/// A command's generator.
pub(crate) struct Generator(Pcg64);

impl Generator {
    /// The generator of the command at `position` of a batch. Seeds are hashed with the position,
    /// so that numbers drawn by one client tell nothing about those of its neighbours.
    pub(crate) fn new(batch_seed: &[u8; 16], position: u32, step: u32) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"hostd command seed");
        hasher.update(batch_seed);
        hasher.update(&position.to_le_bytes());
        hasher.update(&step.to_le_bytes());
        if planted::active(Bug::OwnRandom) {
            use std::sync::atomic::{AtomicU64, Ordering};
            static DRAWN: AtomicU64 = AtomicU64::new(0);
            hasher.update(&DRAWN.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        }
        Self(Pcg64::from_seed(*hasher.finalize().as_bytes()))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.0.fill_bytes(&mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_draw_equal_numbers_and_other_positions_others() {
        let draw = |seed, position, step| Generator::new(&seed, position, step).next();
        assert_eq!(draw([7; 16], 3, 0), draw([7; 16], 3, 0));
        assert_ne!(draw([7; 16], 3, 0), draw([7; 16], 4, 0));
        assert_ne!(draw([7; 16], 3, 0), draw([7; 16], 3, 1));
        assert_ne!(draw([7; 16], 3, 0), draw([8; 16], 3, 0));
    }

    /// The sequence is part of the rules: another generator would diverge from nodes that run
    /// this one.
    #[test]
    fn the_sequence_is_pinned() {
        let mut generator = Generator::new(&[1; 16], 0, 0);
        let drawn = [generator.next(), generator.next()];
        assert_eq!(
            drawn,
            [5_495_500_845_518_136_618, 6_372_514_671_157_941_260]
        );
    }
}
