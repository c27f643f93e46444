//! Arguments of `hostctl bench` that differ from call to call.

use std::io::Write;

/// One argument, taken apart at its placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(Vec<u8>),
    /// `{i}`: the call's number.
    Number,
    /// `{rand}`, `{rand:N}`: a random number, below N.
    Random(u64),
    /// `{data:N}`: N random letters and digits.
    Data(usize),
}

impl Template {
    /// Takes an argument apart. Braces around anything else stand for themselves.
    pub(crate) fn parse(argument: &[u8]) -> Self {
        let mut parts = Vec::new();
        let mut literal = Vec::new();
        let mut rest = argument;
        while let Some((first, after)) = rest.split_first() {
            let placeholder = (*first == b'{')
                .then(|| after.iter().position(|byte| *byte == b'}'))
                .flatten()
                .and_then(|end| Some((Part::parse(&after[..end])?, &after[end + 1..])));
            if let Some((part, after)) = placeholder {
                if !literal.is_empty() {
                    parts.push(Part::Literal(std::mem::take(&mut literal)));
                }
                parts.push(part);
                rest = after;
            } else {
                literal.push(*first);
                rest = after;
            }
        }
        if !literal.is_empty() || parts.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Self(parts)
    }

    /// The argument of one call.
    pub(crate) fn fill(&self, number: u64, random: &mut Random) -> Vec<u8> {
        let mut filled = Vec::new();
        for part in &self.0 {
            match part {
                Part::Literal(bytes) => filled.extend_from_slice(bytes),
                // Writing to a vector cannot fail.
                Part::Number => drop(write!(filled, "{number}")),
                Part::Random(below) => drop(write!(filled, "{}", random.below(*below))),
                Part::Data(length) => random.letters(*length, &mut filled),
            }
        }
        filled
    }
}

impl Part {
    fn parse(inside: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(inside).ok()?;
        match text.split_once(':') {
            None if text == "i" => Some(Self::Number),
            None if text == "rand" => Some(Self::Random(u64::MAX)),
            Some(("rand", below)) => below
                .parse()
                .ok()
                .filter(|below| *below > 0)
                .map(Self::Random),
            Some(("data", length)) => length.parse().ok().map(Self::Data),
            _ => None,
        }
    }
}

/// Quick random numbers for load, not for secrets: SplitMix64
/// (<https://doi.org/10.1145/2714064.2660195>).
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        // The high half of the product: even, for bounds far below 2^64.
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    fn letters(&mut self, length: usize, into: &mut Vec<u8>) {
        const LETTERS: &[u8; 64] =
            b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
        into.reserve(length);
        let mut left = length;
        while left > 0 {
            let mut bits = self.next();
            for _ in 0..left.min(10) {
                into.push(LETTERS[(bits & 63) as usize]);
                bits >>= 6;
            }
            left -= left.min(10);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(argument: &str, number: u64) -> String {
        let template = Template::parse(argument.as_bytes());
        String::from_utf8(template.fill(number, &mut Random::new(7))).unwrap()
    }

    #[test]
    fn placeholders_are_filled_in() {
        assert_eq!(fill("plain", 1), "plain");
        assert_eq!(fill("", 1), "");
        assert_eq!(fill("key:{i}", 42), "key:42");
        assert_eq!(fill("{i}{i}", 4), "44");
        let key: u64 = fill("{rand:1000}", 0).parse().unwrap();
        assert!(key < 1_000);
        let data = fill("<{data:64}>", 0);
        assert_eq!(data.len(), 66);
        assert_eq!(fill("{data:0}", 0), "");
        fill("{rand}", 0).parse::<u64>().unwrap();
    }

    #[test]
    fn other_braces_stand_for_themselves() {
        for argument in [
            "{",
            "}",
            "{}",
            "{x}",
            "{rand:0}",
            "{rand:x}",
            "{data:-1}",
            "{\"a\":1}",
            "{i",
        ] {
            assert_eq!(fill(argument, 1), argument);
        }
        assert_eq!(fill("{x{i}", 5), "{x5");
    }

    #[test]
    fn random_numbers_cover_their_range() {
        let mut random = Random::new(1);
        let mut seen = [0u32; 8];
        for _ in 0..8_000 {
            seen[usize::try_from(random.below(8)).unwrap()] += 1;
        }
        assert!(
            seen.iter().all(|count| (800..1_200).contains(count)),
            "{seen:?}"
        );
    }
}
