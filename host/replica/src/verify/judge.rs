//! Whose state is the right one.

use std::collections::{BTreeMap, BTreeSet};

use hostd_machine::Sum;
use hostd_planted::{self as planted, Bug};
use hostd_protocol::NodeId;

/// What the sums of the members say.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Judgement {
    /// More than half of all members have the same state.
    pub(super) majority: bool,
    /// Who has it. Without a majority all who answered are right only if they agree.
    pub(super) right: BTreeSet<NodeId>,
    /// Whom the others are compared with; `None` when nobody answered.
    pub(super) reference: Option<NodeId>,
}

/// `told` is what those who answered have; `members` is how many there are, whether they answered or
/// not: two of five that agree may be the wrong ones.
pub(super) fn judge(told: Vec<(NodeId, Sum)>, members: usize) -> Judgement {
    let mut groups: BTreeMap<[u8; 32], BTreeSet<NodeId>> = BTreeMap::new();
    let everybody: BTreeSet<NodeId> = told.iter().map(|(id, _)| *id).collect();
    for (id, sum) in told {
        groups.entry(sum.digest).or_default().insert(id);
    }
    let alone = groups.len() == 1;
    // Of groups of the same size the one with the lowest number, so that the answer is the same
    // whoever is asked.
    let largest = groups
        .into_values()
        .min_by_key(|group| (usize::MAX - group.len(), group.first().copied()))
        .unwrap_or_default();
    let majority = largest.len() > members / 2;
    Judgement {
        majority,
        reference: largest.first().copied(),
        right: if planted::active(Bug::BlameTheRight) && !alone {
            &everybody - &largest
        } else if majority || alone {
            largest
        } else {
            BTreeSet::new()
        },
    }
}
