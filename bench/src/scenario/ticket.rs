//! `TICKET`: the smallest write there is, one counter that everybody wants.

use crate::case::Case;
use crate::shape::Shape;
use crate::system::Work;

/// The loads.
pub(crate) fn cases() -> Vec<Case> {
    [Shape::MANY, Shape::PIPELINED, Shape::SINGLE]
        .map(|shape| Case::hostd(Work::Ticket, shape))
        .to_vec()
}
