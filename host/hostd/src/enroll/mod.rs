//! A new node and its certificate: `desk` gives one for a join token, `newcomer` asks for one.

mod desk;
mod newcomer;

pub(crate) use desk::{Desk, check_rules};
pub(crate) use newcomer::enroll;
