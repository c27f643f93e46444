//! Writes of 64 bytes over 10 000 random keys: hostd's kv SET, etcd's PUT, Redis's SET and, for
//! orientation, its INCR.

use crate::case::{Case, Contender};
use crate::shape::Shape;
use crate::system::{REDIS_CLIENTS, Work};

/// The loads.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for shape in [Shape::MANY, Shape::PIPELINED] {
        let redis = Shape::new(REDIS_CLIENTS, shape.in_flight);
        cases.extend([
            Case::hostd(Work::Set, shape),
            Case::new(Work::Set, shape, Contender::HostdApart),
            Case::new(Work::Set, shape, Contender::Etcd),
            Case::new(Work::Set, shape, Contender::EtcdApart),
            Case::new(Work::Set, redis, Contender::Redis),
            Case::new(Work::Incr, redis, Contender::Redis),
        ]);
    }
    cases.extend([
        Case::hostd(Work::Set, Shape::SINGLE),
        Case::new(Work::Set, Shape::SINGLE, Contender::Etcd),
    ]);
    cases
}
