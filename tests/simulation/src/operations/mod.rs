//! What operators do while everything goes wrong, one file for each.

mod checkpoint;
mod demote;
mod dry_run;
mod hostd_upgrade;
mod join;
mod plugin_limits;
mod plugin_migrate;
mod plugin_rollback;
mod plugin_upgrade;
pub(crate) mod plugins;
pub(crate) mod policy;
mod remove;
mod replace;
mod reseed;
mod restart;
mod snapshot;
mod snapshot_restore;
mod snapshot_save;
mod transfer;
mod verify;

pub(crate) use checkpoint::Checkpoint;
pub(crate) use dry_run::DryRun;
pub(crate) use hostd_upgrade::{HostdUpgrade, begins_old};
pub(crate) use plugin_limits::Limits;
pub(crate) use plugin_migrate::Migrate;
pub(crate) use plugin_rollback::Rollback;
pub(crate) use plugin_upgrade::Upgrade;
pub(crate) use policy::Policy;
pub(crate) use remove::remove;
pub(crate) use replace::replace;
pub(crate) use reseed::{Reseed, mend, watch};
pub(crate) use snapshot::Snapshot;
pub(crate) use snapshot_restore::Restore;
pub(crate) use snapshot_save::{Save, Saved};
pub(crate) use verify::Verify;

use crate::faults::Fault;

/// The first that were planned; those that came later are in `plan::LATER`. Replacing a damaged node
/// follows from its damage.
pub(crate) const ALL: &[&dyn Fault] = &[
    &join::Join,
    &remove::Remove,
    &demote::Demote,
    &transfer::Transfer,
    &restart::Graceful,
    &restart::Rolling,
];
