//! What the operations on plugins have in common: the versions of the plugin that changes, and the
//! operator who asks for it.

use std::sync::Arc;

use hostd_client::{CallError, Client, PluginChange, PluginInfo, Reply};

use crate::world::World;

/// The plugin that is replaced, migrated and limited.
pub(crate) const NAME: &str = "tally";

/// Versions that differ in nothing but what they call themselves, of each layout.
pub(super) const VARIANTS: u64 = 4;

/// One of the versions of a layout, counted from 1.
pub(crate) fn component(world: &World, layout: u32, variant: u64) -> Option<Arc<[u8]>> {
    let original = world
        .fixtures
        .tallies
        .get((layout as usize).checked_sub(1)?)?;
    let (from, to) = (format!("{layout}.0.0"), format!("{layout}.{variant}.0"));
    let mut bytes = original.to_vec();
    for at in 1..bytes.len() - from.len() {
        if bytes[at..].starts_with(from.as_bytes()) && bytes[at - 1] != b'@' {
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        }
    }
    Some(bytes.into())
}

/// What is known of the plugin; `None` while it is not installed.
pub(super) async fn find(client: &Client) -> Result<Option<PluginInfo>, CallError> {
    let (plugins, _) = client.plugins().await?;
    Ok(plugins.into_iter().find(|plugin| plugin.name == NAME))
}

/// Uploads a version and makes it the one that runs.
pub(super) async fn replace(client: &Client, component: &[u8]) -> Result<Reply, CallError> {
    let digest = client.upload(component, |_| {}).await?;
    client
        .change_plugins(PluginChange::Activate {
            digest,
            replace: true,
        })
        .await
}
