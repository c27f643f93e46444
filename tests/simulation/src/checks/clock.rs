//! The replicated clock: the same at each index on every node, and it never falls.

use std::collections::BTreeMap;

use super::Invariant;
use crate::trace::Observation;

#[derive(Debug, Default)]
pub(super) struct Clock {
    /// Time after each entry.
    times: BTreeMap<u64, u64>,
}

impl Invariant for Clock {
    fn name(&self) -> &'static str {
        "replicated clock"
    }

    fn observe(&mut self, observation: &Observation) -> Result<(), String> {
        if observation.what != "applied" {
            return Ok(());
        }
        let (index, time) = (observation.number("index"), observation.number("time"));
        let known = *self.times.entry(index).or_insert(time);
        if known != time {
            return Err(format!(
                "at entry {index} it is {time} on node {} and {known} elsewhere",
                observation.node
            ));
        }
        let earlier = self.times.range(..index).next_back();
        let later = self.times.range(index + 1..).next();
        if earlier.is_some_and(|(_, earlier)| *earlier > time)
            || later.is_some_and(|(_, later)| *later < time)
        {
            return Err(format!("it falls around entry {index}, at {time}"));
        }
        Ok(())
    }
}
