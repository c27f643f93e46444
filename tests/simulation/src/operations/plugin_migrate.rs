//! A version takes over that must migrate the state first.

use super::plugins;
use crate::chance::Chance;
use crate::faults::Fault;
use crate::world::World;

/// To the next layout: the second is reached key by key, the third as a whole.
pub(crate) struct Migrate;

impl Fault for Migrate {
    fn name(&self) -> &'static str {
        "plugin-migrate"
    }

    fn begin(&self, world: &mut World, _chance: &mut Chance, _for_ms: u64) {
        let versions: Vec<_> = (1..=3)
            .map(|layout| plugins::component(world, layout, 0))
            .collect();
        let operator = world.operator.clone();
        operator.act(world, "plugin-migrate", move |client| {
            Box::pin(async move {
                let Some(plugin) = plugins::find(&client).await? else {
                    return Ok(());
                };
                // The versions are counted from 1, so this is the next one.
                if let Some(Some(component)) = versions.get(plugin.state_version as usize) {
                    plugins::replace(&client, component).await?;
                }
                Ok(())
            })
        });
    }
}
