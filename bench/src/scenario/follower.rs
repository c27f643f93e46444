//! The same through a node that has to forward.

use crate::case::{Case, Contender};
use crate::shape::Shape;
use crate::system::Work;

/// The loads.
pub(crate) fn cases() -> Vec<Case> {
    [
        (Work::Set, Shape::MANY),
        (Work::Set, Shape::SINGLE),
        (Work::Get, Shape::MANY),
    ]
    .map(|(work, shape)| Case::new(work, shape, Contender::HostdFollower))
    .to_vec()
}
