//! A digest of the whole state that is updated from changed rows alone.

use super::Revision;

/// The sum, modulo 2^256, of the hashes of all rows: AdHash (Bellare and Micciancio, "A New
/// Paradigm for Collision-free Hashing", EUROCRYPT 1997). Adding and removing rows in any order
/// gives the same sum for the same set. It guards against faults, not against an attacker who
/// can choose the state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StateDigest([u64; 4]);

impl StateDigest {
    pub(crate) fn add(&mut self, hash: &[u8; 32]) {
        let mut carry = false;
        for (limb, word) in self.0.iter_mut().zip(words(hash)) {
            let (sum, first) = limb.overflowing_add(word);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            *limb = sum;
            carry = first || second;
        }
    }

    pub(crate) fn remove(&mut self, hash: &[u8; 32]) {
        let mut borrow = false;
        for (limb, word) in self.0.iter_mut().zip(words(hash)) {
            let (difference, first) = limb.overflowing_sub(word);
            let (difference, second) = difference.overflowing_sub(u64::from(borrow));
            *limb = difference;
            borrow = first || second;
        }
    }

    pub(crate) fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (chunk, limb) in bytes.chunks_exact_mut(8).zip(self.0) {
            chunk.copy_from_slice(&limb.to_le_bytes());
        }
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(words(bytes))
    }
}

fn words(hash: &[u8; 32]) -> [u64; 4] {
    std::array::from_fn(|word| {
        u64::from_le_bytes(std::array::from_fn(|byte| hash[word * 8 + byte]))
    })
}

/// BLAKE3 of one row. The key's length is part of it, so that no two rows have the same input.
pub(crate) fn row_hash(key: &[u8], revision: Revision, value: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(key.len() as u32).to_le_bytes());
    hasher.update(key);
    hasher.update(&revision.index.to_le_bytes());
    hasher.update(&revision.position.to_le_bytes());
    hasher.update(value);
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_matter_and_removal_undoes() {
        let hashes: Vec<[u8; 32]> = (0..50u8)
            .map(|n| row_hash(&[n], Revision::default(), &[n, n]))
            .collect();
        let mut forward = StateDigest::default();
        for hash in &hashes {
            forward.add(hash);
        }
        let mut backward = StateDigest::default();
        backward.add(&[0xFF; 32]);
        for hash in hashes.iter().rev() {
            backward.add(hash);
        }
        assert_ne!(forward, backward);
        backward.remove(&[0xFF; 32]);
        assert_eq!(forward, backward);
        assert_eq!(StateDigest::from_bytes(&forward.to_bytes()), forward);
    }
}
