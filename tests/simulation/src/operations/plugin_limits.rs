//! A plugin gets a quota that is nearly used up, and later none.

use hostd_client::PluginChange;

use super::plugins;
use crate::chance::Chance;
use crate::faults::Fault;
use crate::world::World;

/// Room for a few keys more than there are.
pub(crate) struct Limits;

impl Fault for Limits {
    fn name(&self) -> &'static str {
        "plugin-limits"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, for_ms: u64) {
        let room = chance.below(20);
        let operator = world.operator.clone();
        operator.act(world, "plugin-limits", move |client| {
            Box::pin(async move {
                let Some(plugin) = plugins::find(&client).await? else {
                    return Ok(());
                };
                set(&client, Some(plugin.keys + room)).await?;
                tokio::time::sleep(std::time::Duration::from_millis(for_ms)).await;
                set(&client, None).await
            })
        });
    }
}

async fn set(
    client: &hostd_client::Client,
    keys_max: Option<u64>,
) -> Result<(), hostd_client::CallError> {
    client
        .change_plugins(PluginChange::Limit {
            plugin: Some(plugins::NAME.into()),
            values: vec![("keys_max".into(), keys_max)],
        })
        .await
        .map(drop)
}
