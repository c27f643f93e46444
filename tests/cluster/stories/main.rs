//! Stories with real processes: what a cluster's users may rely on, whatever happens to its
//! nodes.
//!
//! Each story starts its own cluster on free loopback ports and leaves nothing behind. Waiting is
//! for conditions, never for a time; [`cluster_tests::PATIENCE`] bounds it.

#![forbid(unsafe_code)]

mod support;

#[path = "../../fixtures/costly.rs"]
mod costly;

mod access_rules;
mod backups;
mod bad_calls;
mod bad_files;
mod bad_packets;
mod bad_plugins;
mod bad_starts;
mod certificates;
mod cli_replies;
mod clock_and_chance;
mod develop;
mod disk_full;
mod features;
mod formation;
mod history;
mod hostd_upgrades;
mod hostile_uploads;
mod http;
mod idle;
mod kills;
mod large_migrations;
mod live_plugins;
mod membership;
mod no_sync;
mod open_reads;
mod partitions;
mod recover;
mod resp_commands;
mod resp_front;
mod resp_state;
mod resp_subscribe;
mod restarts;
mod retries;
mod snapshots;
mod tokens;
mod verify;
mod watch;
