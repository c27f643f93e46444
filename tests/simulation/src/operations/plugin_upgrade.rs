//! A version that reads the same layout takes over.

use super::plugins;
use crate::chance::Chance;
use crate::faults::Fault;
use crate::world::World;

/// To one of several that differ in nothing but what they call themselves.
pub(crate) struct Upgrade;

impl Fault for Upgrade {
    fn name(&self) -> &'static str {
        "plugin-upgrade"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, _for_ms: u64) {
        let variant = chance.below(plugins::VARIANTS);
        let versions: Vec<_> = (1..=3)
            .map(|layout| plugins::component(world, layout, variant))
            .collect();
        let operator = world.operator.clone();
        operator.act(world, "plugin-upgrade", move |client| {
            Box::pin(async move {
                let Some(plugin) = plugins::find(&client).await? else {
                    return Ok(());
                };
                let position = plugin.state_version.saturating_sub(1) as usize;
                if let Some(Some(component)) = versions.get(position) {
                    plugins::replace(&client, component).await?;
                }
                Ok(())
            })
        });
    }
}
