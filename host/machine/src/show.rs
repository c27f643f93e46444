//! The plugins as users see them.

use hostd_protocol::{MigrationInfo, PluginInfo, VersionInfo, hex};

use crate::migration::Phase;
use crate::query::View;

/// Every plugin, sorted by name, with those that were removed and whose state is kept.
pub(crate) fn plugins(view: &View) -> Vec<PluginInfo> {
    let mut plugins: Vec<PluginInfo> = view
        .catalogue
        .records()
        .map(|(name, record)| {
            let running = view.catalogue.get(name);
            let usage = |number| view.usage.get(&number).copied().unwrap_or_default();
            let moving = view.migrations.get(&record.id);
            PluginInfo {
                name: name.to_owned(),
                description: running.map(|installed| installed.plugin.description().clone()),
                digest: record.active.as_ref().map(|digest| hex(digest)),
                state_version: record.state_version,
                keys: usage(record.space).keys,
                data_bytes: usage(record.space).bytes,
                timers: usage(record.id).timers,
                versions: record
                    .kept
                    .iter()
                    .map(|kept| VersionInfo {
                        digest: hex(&kept.digest),
                        version: kept.version.clone(),
                        state_version: kept.state_version,
                        index: kept.index,
                        time: kept.time,
                        principal: kept.principal.clone(),
                        active: record.active == Some(kept.digest),
                    })
                    .collect(),
                limits: record.limits.clone(),
                migration: moving.map(|moving| MigrationInfo {
                    to: hex(&moving.row.to),
                    version: moving.plugin.description().version.clone(),
                    writes_wait: moving.row.phase == Phase::Steps,
                    keys: moving.row.keys,
                    since: moving.row.since,
                }),
                failed: record.failed.clone(),
            }
        })
        .collect();
    plugins.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    plugins
}
