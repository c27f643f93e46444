//! What is measured, each in its own file: loads, which the rounds repeat, and single stories.

pub(crate) mod failover;
pub(crate) mod follower;
pub(crate) mod get;
pub(crate) mod idle;
pub(crate) mod memory;
pub(crate) mod resp;
pub(crate) mod set;
pub(crate) mod ticket;

use crate::case::Case;
use crate::options::{Options, Scenario};

/// The loads that the user wants, in the order in which a round goes through them: systems that
/// are compared run right after each other.
pub(crate) fn cases(options: &Options) -> Vec<Case> {
    let mut seen = Vec::new();
    [
        (Scenario::Ticket, ticket::cases()),
        (Scenario::Set, set::cases()),
        (Scenario::Get, get::cases()),
        (Scenario::Follower, follower::cases()),
        (Scenario::Resp, resp::cases()),
    ]
    .into_iter()
    .filter(|(scenario, _)| options.wants(*scenario))
    .flat_map(|(_, cases)| cases)
    .filter(|case| case.is_wanted(options))
    // Redis's own figures belong to several scenarios.
    .filter(|case| {
        let new = !seen.contains(case);
        seen.push(*case);
        new
    })
    .collect()
}
