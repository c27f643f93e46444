//! A member whose data is gone does not keep its place: between two directories of one number there is
//! a committed membership without it. So nobody ever counts the one for the other.

use std::collections::BTreeMap;

use super::Invariant;
use crate::trace::Observation;

#[derive(Debug, Default)]
pub(super) struct Members {
    /// By index of the entry: each member's incarnation.
    memberships: BTreeMap<u64, BTreeMap<u64, u64>>,
}

impl Invariant for Members {
    fn name(&self) -> &'static str {
        "members"
    }

    fn observe(&mut self, observation: &Observation) -> Result<(), String> {
        if observation.what != "member" {
            return Ok(());
        }
        let index = observation.number("index");
        let (member, incarnation) = (
            observation.number("member"),
            observation.number("incarnation"),
        );
        let members = self.memberships.entry(index).or_default();
        members.insert(member, incarnation);
        // Whoever applies an entry has applied the one before, or somebody else has who sent it a
        // snapshot: there are no gaps.
        let before = self.memberships.range(..index).next_back();
        let known = before.and_then(|(_, members)| members.get(&member));
        if known.is_some_and(|known| *known != incarnation) {
            return Err(format!(
                "entry {index} gives the place of member {member} to another directory, and nothing \
                 took it from the old one before"
            ));
        }
        Ok(())
    }
}
