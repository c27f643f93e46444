//! The Redis protocol: redis-benchmark with its own 50 clients on one hostd node, on the leader of three,
//! and on Redis.

use crate::case::{Case, Contender};
use crate::shape::Shape;
use crate::system::{REDIS_CLIENTS, Work};

/// The loads.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for in_flight in [1, 16] {
        let shape = Shape::new(REDIS_CLIENTS, in_flight);
        for work in [Work::Set, Work::Get] {
            cases.extend(
                [
                    Contender::HostdRespAlone,
                    Contender::HostdResp,
                    Contender::Redis,
                ]
                .map(|contender| Case::new(work, shape, contender)),
            );
        }
    }
    cases
}
