//! What is measured, each in its own file: loads, which the rounds repeat, and single stories.

pub(crate) mod failover;
pub(crate) mod follower;
pub(crate) mod get;
pub(crate) mod idle;
pub(crate) mod memory;
pub(crate) mod set;
pub(crate) mod ticket;

use crate::case::Case;
use crate::options::{Options, Scenario};

/// The loads that the user wants, in the order in which a round goes through them: systems that
/// are compared run right after each other.
pub(crate) fn cases(options: &Options) -> Vec<Case> {
    [
        (Scenario::Ticket, ticket::cases()),
        (Scenario::Set, set::cases()),
        (Scenario::Get, get::cases()),
        (Scenario::Follower, follower::cases()),
    ]
    .into_iter()
    .filter(|(scenario, _)| options.wants(*scenario))
    .flat_map(|(_, cases)| cases)
    .filter(|case| case.is_wanted(options))
    .collect()
}
