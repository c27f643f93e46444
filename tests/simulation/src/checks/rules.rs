//! Every entry is run by the same rules on every node, and rules only rise.

use std::collections::BTreeMap;

use super::Invariant;
use crate::trace::Observation;

/// Where a version of the rules was seen in force.
#[derive(Debug)]
struct Seen {
    first: u64,
    last: u64,
}

#[derive(Debug, Default)]
pub(super) struct Rules {
    /// By version.
    seen: BTreeMap<u64, Seen>,
}

impl Invariant for Rules {
    fn name(&self) -> &'static str {
        "rules"
    }

    fn observe(&mut self, observation: &Observation) -> Result<(), String> {
        if observation.what != "applied" {
            return Ok(());
        }
        let (index, rules) = (observation.number("index"), observation.number("rules"));
        let seen = self.seen.entry(rules).or_insert(Seen {
            first: index,
            last: index,
        });
        seen.first = seen.first.min(index);
        seen.last = seen.last.max(index);
        let older = self.seen.range(..rules).next_back();
        let newer = self.seen.range(rules + 1..).next();
        let apart = older.is_none_or(|(_, older)| older.last < index)
            && newer.is_none_or(|(_, newer)| index < newer.first);
        if apart {
            Ok(())
        } else {
            Err(format!(
                "node {} has rules {rules} in force behind entry {index}, and another node has others: \
                 {:?}",
                observation.node, self.seen
            ))
        }
    }
}
