//! Plugins that are uploaded, activated, migrated, rolled back and removed: what the machine
//! promises of each, and that a node which was away comes to the same.
#![allow(missing_docs)]

mod cluster;
#[path = "../common/mod.rs"]
mod common;

mod migrations;
mod quotas;
mod uploads;
mod versions;
