//! Agreement: nodes never differ on what Raft promises to be the same everywhere.
//!
//! Diego Ongaro and John Ousterhout, "In Search of an Understandable Consensus Algorithm", 2014,
//! figure 3: election safety, log matching, state machine safety.
//!
//! Everything observed is kept, also over a node's restarts: what was once committed stays.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::{self, Debug, Display, Formatter};

/// What all nodes have shown so far. `D` is a digest of content: equal when the content is.
#[derive(Clone, Debug)]
pub struct Agreement<D> {
    leaders: BTreeMap<u64, u64>,
    /// By index and term.
    appended: BTreeMap<(u64, u64), Seen<Appended<D>>>,
    /// By index.
    committed: BTreeMap<u64, Seen<Committed<D>>>,
    /// By index.
    checkpoints: BTreeMap<u64, Seen<D>>,
}

/// What was seen, and on which node first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen<T> {
    /// The node.
    pub node: u64,
    /// What it has.
    pub what: T,
}

/// What was seen first, and what differs from it.
pub type Pair<T> = Box<(Seen<T>, Seen<T>)>;

/// An entry in a log, apart from its index and term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended<D> {
    /// The term of the entry before it; `None` for the first.
    pub term_before: Option<u64>,
    /// The entry's content.
    pub digest: D,
}

/// A committed entry, apart from its index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed<D> {
    /// The entry's term.
    pub term: u64,
    /// The entry's content.
    pub digest: D,
}

/// Two nodes differ, or one node differs from what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation<D> {
    /// Two nodes led in one term.
    Leaders {
        /// The term.
        term: u64,
        /// Both nodes.
        nodes: (u64, u64),
    },
    /// Two logs have different entries, or different entries before them, at one index with one
    /// term.
    Appended {
        /// The index.
        index: u64,
        /// The term.
        term: u64,
        /// Both entries.
        entries: Pair<Appended<D>>,
    },
    /// Different entries were committed at one index.
    Committed {
        /// The index.
        index: u64,
        /// Both entries.
        entries: Pair<Committed<D>>,
    },
    /// Different states came of the same entries.
    Checkpoints {
        /// The index of the last entry in the state.
        index: u64,
        /// Both states.
        states: Pair<D>,
    },
}

impl<D: Clone + PartialEq> Agreement<D> {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Agreement {
            leaders: BTreeMap::new(),
            appended: BTreeMap::new(),
            committed: BTreeMap::new(),
            checkpoints: BTreeMap::new(),
        }
    }

    /// A node leads in a term. There is at most one.
    pub fn leads(&mut self, node: u64, term: u64) -> Result<(), Violation<D>> {
        let leader = *self.leaders.entry(term).or_insert(node);
        if leader == node {
            return Ok(());
        }
        let nodes = (leader, node);
        Err(Violation::Leaders { term, nodes })
    }

    /// A node has an entry in its log, committed or not. Entries with the same index and term have
    /// the same content and, by way of the term before, the same entries before them.
    pub fn appended(
        &mut self,
        node: u64,
        index: u64,
        term: u64,
        entry: Appended<D>,
    ) -> Result<(), Violation<D>> {
        agree(&mut self.appended, (index, term), node, entry).map_err(|entries| {
            Violation::Appended {
                index,
                term,
                entries,
            }
        })
    }

    /// A node knows an entry to be committed, or applies it. No other entry is ever at its index.
    pub fn committed(
        &mut self,
        node: u64,
        index: u64,
        entry: Committed<D>,
    ) -> Result<(), Violation<D>> {
        agree(&mut self.committed, index, node, entry)
            .map_err(|entries| Violation::Committed { index, entries })
    }

    /// A node's state has this digest after the entry at an index, and so has every node's.
    pub fn checkpoint(&mut self, node: u64, index: u64, digest: D) -> Result<(), Violation<D>> {
        agree(&mut self.checkpoints, index, node, digest)
            .map_err(|states| Violation::Checkpoints { index, states })
    }
}

impl<D: Clone + PartialEq> Default for Agreement<D> {
    fn default() -> Self {
        Agreement::new()
    }
}

/// Compares with what was seen first, or notes it as the first.
fn agree<K: Ord, T: Clone + PartialEq>(
    seen: &mut BTreeMap<K, Seen<T>>,
    key: K,
    node: u64,
    what: T,
) -> Result<(), Pair<T>> {
    let now = Seen { node, what };
    let first = seen.entry(key).or_insert_with(|| now.clone());
    if first.what == now.what {
        return Ok(());
    }
    Err(Box::new((first.clone(), now)))
}

impl<D: Debug> Display for Violation<D> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Violation::Leaders { term, nodes } => {
                write!(
                    f,
                    "nodes {} and {} both lead in term {term}",
                    nodes.0, nodes.1
                )
            }
            Violation::Appended {
                index,
                term,
                entries,
            } => write!(
                f,
                "logs differ at index {index}, term {term}:\n  {}\n  {}",
                entries.0, entries.1
            ),
            Violation::Committed { index, entries } => write!(
                f,
                "different entries are committed at index {index}:\n  {}\n  {}",
                entries.0, entries.1
            ),
            Violation::Checkpoints { index, states } => write!(
                f,
                "states differ after index {index}:\n  {}\n  {}",
                states.0, states.1
            ),
        }
    }
}

impl<T: Debug> Display for Seen<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "node {}: {:?}", self.node, self.what)
    }
}

impl<D: Debug> Error for Violation<D> {}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(term: u64, digest: &'static str) -> Committed<&'static str> {
        Committed { term, digest }
    }

    fn appended(term_before: Option<u64>, digest: &'static str) -> Appended<&'static str> {
        Appended {
            term_before,
            digest,
        }
    }

    #[test]
    fn nodes_that_agree_pass() {
        let mut seen = Agreement::new();
        for node in 1..=3 {
            seen.appended(node, 1, 1, appended(None, "a")).unwrap();
            seen.appended(node, 2, 2, appended(Some(1), "b")).unwrap();
            seen.committed(node, 1, entry(1, "a")).unwrap();
            seen.committed(node, 2, entry(2, "b")).unwrap();
            seen.checkpoint(node, 2, "ab").unwrap();
            seen.leads(node, node).unwrap();
            seen.leads(node, node).unwrap();
        }
    }

    #[test]
    fn an_uncommitted_entry_may_give_way_to_one_of_another_term() {
        let mut seen = Agreement::new();
        seen.appended(1, 2, 1, appended(Some(1), "old")).unwrap();
        seen.appended(1, 2, 2, appended(Some(1), "new")).unwrap();
    }

    #[test]
    fn two_leaders_in_a_term_are_found() {
        let mut seen = Agreement::<u64>::new();
        seen.leads(1, 4).unwrap();
        let violation = seen.leads(2, 4).unwrap_err();
        assert_eq!(violation.to_string(), "nodes 1 and 2 both lead in term 4");
    }

    #[test]
    fn logs_that_do_not_match_are_found() {
        let mut seen = Agreement::new();
        seen.appended(1, 2, 3, appended(Some(1), "a")).unwrap();
        let other_content = seen.appended(2, 2, 3, appended(Some(1), "b")).unwrap_err();
        assert!(matches!(
            other_content,
            Violation::Appended {
                index: 2,
                term: 3,
                ..
            }
        ));
        // The same entry behind another one: the logs differ before it.
        let other_before = seen.appended(2, 2, 3, appended(Some(2), "a"));
        assert!(matches!(other_before, Err(Violation::Appended { .. })));
    }

    #[test]
    fn committed_entries_that_differ_are_found() {
        let mut seen = Agreement::new();
        seen.committed(1, 7, entry(2, "a")).unwrap();
        let violation = seen.committed(2, 7, entry(3, "a")).unwrap_err();
        assert_eq!(
            violation.to_string(),
            "different entries are committed at index 7:\n  \
             node 1: Committed { term: 2, digest: \"a\" }\n  \
             node 2: Committed { term: 3, digest: \"a\" }"
        );
        // A node that changes its mind is no better than one that differs from another.
        assert!(seen.committed(1, 7, entry(2, "b")).is_err());
    }

    #[test]
    fn states_that_differ_are_found() {
        let mut seen = Agreement::new();
        seen.checkpoint(1, 10, 0xabc).unwrap();
        seen.checkpoint(2, 20, 0xdef).unwrap();
        let violation = seen.checkpoint(2, 10, 0xabd).unwrap_err();
        assert!(matches!(
            violation,
            Violation::Checkpoints { index: 10, .. }
        ));
    }
}
