//! Inputs from a seed, for the driver without coverage.

/// xorshift64* (Vigna 2016): every run draws the same.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator. A seed of 0 is taken as 1.
    pub fn new(seed: u64) -> Self {
        // Seeds that lie close together must not draw alike.
        let mut random = Self(seed.max(1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        for _ in 0..4 {
            random.next();
        }
        random
    }

    /// A number.
    #[expect(clippy::should_implement_trait, reason = "it never ends")]
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `bound`; 0 when that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    /// Bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| (self.next() >> 32) as u8).collect()
    }
}

/// Numbers that lengths, counts and signs go wrong at.
const INTERESTING: [&[u8]; 10] = [
    &[0],
    &[0x7f],
    &[0x80],
    &[0xff],
    &[0xff; 4],
    &[0xff, 0xff, 0xff, 0x7f],
    &[0, 0, 0, 0x80],
    &[0xff; 9],
    // The largest lengths of postcard's and of LEB128's kind.
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
];

/// The next input: noise, or some seed after a few changes.
pub fn next(random: &mut Random, seeds: &[Vec<u8>], bytes_max: usize) -> Vec<u8> {
    if seeds.is_empty() || random.below(8) == 0 {
        let length = match random.below(3) {
            0 => 16,
            1 => 256,
            _ => bytes_max,
        };
        let length = random.below(length.min(bytes_max) + 1);
        return random.bytes(length);
    }
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(6) {
        change(random, &mut bytes, seeds);
    }
    bytes.truncate(bytes_max);
    bytes
}

/// One change.
pub fn change(random: &mut Random, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    let at = random.below(bytes.len() + 1);
    let rest = bytes.len() - at;
    match random.below(9) {
        0 if rest > 0 => bytes[at] ^= 1 << random.below(8),
        1 if rest > 0 => bytes[at] = random.next() as u8,
        2 if rest > 0 => {
            let step = random.below(33) as u8;
            bytes[at] = bytes[at].wrapping_add(step).wrapping_sub(16);
        }
        3 => {
            let length = random.below(9);
            let noise = random.bytes(length);
            bytes.splice(at..at, noise).for_each(drop);
        }
        4 => {
            let length = random.below(rest.min(64) + 1);
            bytes.drain(at..at + length);
        }
        5 => {
            let number = INTERESTING[random.below(INTERESTING.len())];
            let replaced = if random.below(2) == 0 {
                number.len()
            } else {
                1
            };
            let end = (at + replaced).min(bytes.len());
            bytes.splice(at..end, number.iter().copied()).for_each(drop);
        }
        6 => {
            // A piece of this input, or of another, once more.
            let source = match random.below(2) {
                0 => bytes.clone(),
                _ => seeds
                    .get(random.below(seeds.len()))
                    .cloned()
                    .unwrap_or_default(),
            };
            let start = random.below(source.len() + 1);
            let end = start + random.below((source.len() - start).min(256) + 1);
            bytes
                .splice(at..at, source[start..end].iter().copied())
                .for_each(drop);
        }
        7 => bytes.truncate(at),
        _ if rest > 0 => {
            let other = random.below(bytes.len());
            bytes.swap(at, other);
        }
        _ => {}
    }
}
