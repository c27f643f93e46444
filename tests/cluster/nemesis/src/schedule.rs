//! Which faults come when: decided by the seed alone.
//!
//! A schedule goes through all chosen faults in rounds, each round in an order of its own. Some
//! episodes have a second fault at the same time.

use std::time::Duration;

use crate::fault::Kind;
use crate::random::Random;

/// One fault, or two at the same time, and how long they last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Episode {
    /// From 1.
    pub(crate) number: u32,
    /// What is injected, in this order, and the seed of its choices.
    pub(crate) faults: Vec<(Kind, u64)>,
    /// How long the faults last.
    pub(crate) hold: Duration,
    /// How long the healthy cluster is left alone afterwards.
    pub(crate) calm: Duration,
}

/// Shorter faults are not noticed by everybody, longer ones show nothing new.
const HOLD: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(6));
const CALM: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));

/// An endless row of episodes.
#[derive(Debug)]
pub(crate) struct Schedule {
    random: Random,
    kinds: Vec<Kind>,
    round: Vec<Kind>,
    number: u32,
}

impl Schedule {
    /// The schedule of a seed. There is at least one kind.
    pub(crate) fn new(seed: u64, kinds: &[Kind]) -> Self {
        let mut kinds = kinds.to_vec();
        kinds.sort_unstable();
        kinds.dedup();
        Self {
            random: Random::new(seed),
            kinds,
            round: Vec::new(),
            number: 0,
        }
    }
}

impl Iterator for Schedule {
    type Item = Episode;

    fn next(&mut self) -> Option<Episode> {
        if self.round.is_empty() {
            self.round.clone_from(&self.kinds);
            self.random.shuffle(&mut self.round);
        }
        let random = &mut self.random;
        let first = self.round.pop()?;
        let mut faults = vec![(first, random.number())];
        let beside: Vec<Kind> = self
            .kinds
            .iter()
            .copied()
            .filter(|kind| first.goes_with(*kind))
            .collect();
        if random.once_in(3) && !beside.is_empty() {
            faults.push((*random.pick(&beside), random.number()));
            faults.sort_by_key(|(kind, _)| kind.order());
        }
        self.number += 1;
        Some(Episode {
            number: self.number,
            faults,
            hold: random.between(HOLD.0, HOLD.1),
            calm: random.between(CALM.0, CALM.1),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_everything() {
        let episodes = |seed| Schedule::new(seed, Kind::ALL).take(100).collect::<Vec<_>>();
        assert_eq!(episodes(1), episodes(1));
        assert_ne!(episodes(1), episodes(2));
    }

    #[test]
    fn every_round_has_every_fault() {
        let round = Kind::ALL.len();
        let episodes: Vec<Episode> = Schedule::new(7, Kind::ALL).take(3 * round).collect();
        for episodes in episodes.chunks(round) {
            for kind in Kind::ALL {
                assert!(
                    episodes
                        .iter()
                        .any(|episode| episode.faults.iter().any(|(one, _)| one == kind)),
                    "{kind:?} is missing"
                );
            }
        }
    }

    #[test]
    fn no_fault_goes_with_itself_or_with_what_it_would_make_impossible() {
        for episode in Schedule::new(3, Kind::ALL).take(500) {
            if let [(one, _), (other, _)] = episode.faults[..] {
                assert!(one.goes_with(other) && other.goes_with(one) && one != other);
            }
        }
    }
}
