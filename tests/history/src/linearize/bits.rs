//! Sets of small numbers.

/// Which operations have been placed.
#[derive(Clone, Debug, Default)]
pub(super) struct Bits {
    words: Vec<u64>,
    /// All words before this one are full.
    full: usize,
    len: usize,
}

/// A set as it is remembered: only the words between the full ones and the empty ones. Placed
/// operations are all those before some moment and a few behind it, so that is short.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Compact {
    full: u32,
    words: Box<[u64]>,
}

impl Bits {
    /// The empty set, for numbers below `size`.
    pub(super) fn new(size: usize) -> Self {
        Bits {
            words: vec![0; size.div_ceil(64)],
            full: 0,
            len: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn contains(&self, number: usize) -> bool {
        self.words[number / 64] & (1 << (number % 64)) != 0
    }

    /// Adds a number that is not there.
    pub(super) fn insert(&mut self, number: usize) {
        debug_assert!(!self.contains(number));
        self.words[number / 64] |= 1 << (number % 64);
        self.len += 1;
        while self.words.get(self.full) == Some(&u64::MAX) {
            self.full += 1;
        }
    }

    /// Removes a number that is there.
    pub(super) fn remove(&mut self, number: usize) {
        debug_assert!(self.contains(number));
        self.words[number / 64] &= !(1 << (number % 64));
        self.len -= 1;
        self.full = self.full.min(number / 64);
    }

    /// The numbers below `size` that are not there, rising.
    pub(super) fn missing(&self, size: usize) -> impl Iterator<Item = usize> {
        let words = self.words.iter().enumerate().skip(self.full);
        words
            .flat_map(|(position, word)| {
                let mut rest = !word;
                std::iter::from_fn(move || {
                    let bit = rest.trailing_zeros();
                    rest &= rest.checked_sub(1)?;
                    Some(position * 64 + bit as usize)
                })
            })
            .take_while(move |number| *number < size)
    }

    pub(super) fn compact(&self) -> Compact {
        let rest = &self.words[self.full..];
        let end = rest
            .iter()
            .rposition(|word| *word != 0)
            .map_or(0, |last| last + 1);
        Compact {
            full: self.full as u32,
            words: rest[..end].into(),
        }
    }
}

impl Compact {
    /// Whether every number of this set is in the other one too.
    pub(super) fn is_subset(&self, other: &Bits) -> bool {
        let full = std::iter::repeat_n(u64::MAX, self.full as usize);
        full.chain(self.words.iter().copied())
            .zip(&other.words)
            .all(|(mine, others)| mine & !others == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(size: usize, numbers: impl IntoIterator<Item = usize>) -> Bits {
        let mut bits = Bits::new(size);
        numbers.into_iter().for_each(|number| bits.insert(number));
        bits
    }

    #[test]
    fn missing_numbers_are_listed_over_full_words() {
        let mut set = bits(200, (0..130).chain([140]));
        let expected: Vec<usize> = (130..140).chain(141..200).collect();
        assert_eq!(set.missing(200).collect::<Vec<_>>(), expected);
        set.remove(5);
        assert_eq!(set.missing(200).next(), Some(5));
        assert_eq!(set.len(), 130);
        assert_eq!(bits(64, 0..64).missing(64).next(), None);
        assert_eq!(bits(0, []).missing(0).next(), None);
    }

    #[test]
    fn equal_sets_are_equal_in_compact_form_whatever_their_past() {
        let plain = bits(300, (0..70).chain([90]));
        let mut with_past = bits(300, (0..70).chain([90, 250]));
        with_past.remove(250);
        with_past.remove(3);
        with_past.insert(3);
        assert_eq!(plain.compact(), with_past.compact());
        assert_ne!(plain.compact(), bits(300, (0..71).chain([90])).compact());
    }

    #[test]
    fn subsets_are_told() {
        let small = bits(300, (0..64).chain([70])).compact();
        assert!(small.is_subset(&bits(300, 0..71)));
        assert!(!small.is_subset(&bits(300, 0..70)));
        assert!(!small.is_subset(&bits(300, 1..71)));
        assert!(bits(300, []).compact().is_subset(&bits(300, [])));
    }
}
