//! Monotonicity: what must only rise on a node rises.
//!
//! The values have names that the caller chooses, such as `"term"` or `"applied"`. What a node
//! may legitimately forget, for example its commit index in a restart, the caller resets.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::{self, Display, Formatter};

/// The highest values seen so far.
#[derive(Clone, Debug, Default)]
pub struct Monotonic {
    highest: BTreeMap<(u64, &'static str), u64>,
}

/// A value fell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The node.
    pub node: u64,
    /// The value's name.
    pub name: &'static str,
    /// What it was.
    pub from: u64,
    /// What it is now.
    pub to: u64,
}

impl Monotonic {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Monotonic::default()
    }

    /// A node shows a value.
    pub fn observe(&mut self, node: u64, name: &'static str, value: u64) -> Result<(), Violation> {
        let highest = self.highest.entry((node, name)).or_insert(value);
        if value < *highest {
            return Err(Violation {
                node,
                name,
                from: *highest,
                to: value,
            });
        }
        *highest = value;
        Ok(())
    }

    /// One value of a node may begin anew.
    pub fn reset(&mut self, node: u64, name: &'static str) {
        self.highest.remove(&(node, name));
    }

    /// All values of a node may begin anew: it lost its disk, or another node took its number.
    pub fn forget(&mut self, node: u64) {
        self.highest.retain(|(of, _), _| *of != node);
    }
}

impl Display for Violation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Violation {
            node,
            name,
            from,
            to,
        } = self;
        write!(f, "{name} of node {node} fell from {from} to {to}")
    }
}

impl Error for Violation {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_rise_or_stay_each_for_itself() {
        let mut seen = Monotonic::new();
        for (node, name, value) in [
            (1, "term", 3),
            (1, "applied", 9),
            (2, "term", 1),
            (1, "term", 3),
            (2, "term", 2),
            (1, "applied", 12),
        ] {
            assert_eq!(seen.observe(node, name, value), Ok(()));
        }
    }

    #[test]
    fn a_fall_is_found_at_once_and_stays_one() {
        let mut seen = Monotonic::new();
        seen.observe(1, "term", 3).unwrap();
        let violation = seen.observe(1, "term", 2).unwrap_err();
        assert_eq!(violation.to_string(), "term of node 1 fell from 3 to 2");
        assert!(seen.observe(1, "term", 2).is_err());
        assert_eq!(seen.observe(1, "term", 3), Ok(()));
    }

    #[test]
    fn a_reset_is_for_one_value_and_forgetting_for_one_node() {
        let mut seen = Monotonic::new();
        for (node, name) in [(1, "term"), (1, "commit"), (2, "term")] {
            seen.observe(node, name, 5).unwrap();
        }
        seen.reset(1, "commit");
        assert_eq!(seen.observe(1, "commit", 0), Ok(()));
        assert!(seen.observe(1, "term", 4).is_err());
        seen.forget(1);
        assert_eq!(seen.observe(1, "term", 0), Ok(()));
        assert!(seen.observe(2, "term", 4).is_err());
    }
}
