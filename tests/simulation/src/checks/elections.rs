//! Election safety (Raft, figure 3): at most one leader in a term; a node votes once in a term, and
//! the terms in which it votes never fall, whatever its process went through.

use std::collections::BTreeMap;

use super::Invariant;
use crate::trace::Observation;

#[derive(Debug, Default)]
pub(super) struct Elections {
    /// By term.
    leaders: BTreeMap<u64, u64>,
    /// By node: the term and the candidate of its last vote.
    votes: BTreeMap<u64, (u64, u64)>,
}

impl Invariant for Elections {
    fn name(&self) -> &'static str {
        "election safety"
    }

    fn discarded(&mut self, node: u64) {
        self.votes.remove(&node);
    }

    fn observe(&mut self, observation: &Observation) -> Result<(), String> {
        let (node, term) = (observation.node, observation.number("term"));
        match observation.what.as_str() {
            "leads" => {
                let leader = *self.leaders.entry(term).or_insert(node);
                if leader != node {
                    return Err(format!("nodes {leader} and {node} both lead term {term}"));
                }
            }
            "voted" => {
                let candidate = observation.number("candidate");
                let before = self.votes.insert(node, (term, candidate));
                if let Some((before_term, before_candidate)) = before {
                    if term < before_term {
                        return Err(format!(
                            "node {node} votes in term {term} after it voted in term {before_term}"
                        ));
                    }
                    // That another candidate has won is something else than voting for it.
                    let won = observation.number("leads") == 1;
                    if term == before_term && candidate != before_candidate && !won {
                        return Err(format!(
                            "node {node} votes for {before_candidate} and for {candidate} in term {term}"
                        ));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}
