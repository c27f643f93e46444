//! Reads that see every write acknowledged before: hostd's kv GET at the leader, etcd's Range,
//! and Redis's GET, which has one node and nothing to ask another.

use crate::case::{Case, Contender};
use crate::shape::Shape;
use crate::system::{REDIS_CLIENTS, Work};

/// The loads.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for shape in [Shape::MANY, Shape::PIPELINED] {
        let redis = Shape::new(REDIS_CLIENTS, shape.in_flight);
        cases.extend([
            Case::hostd(Work::Get, shape),
            Case::new(Work::Get, shape, Contender::Etcd),
            Case::new(Work::Get, redis, Contender::Redis),
        ]);
    }
    cases.push(Case::hostd(Work::Get, Shape::SINGLE));
    cases
}
