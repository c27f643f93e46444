//! A version that is kept takes over again.

use hostd_client::PluginChange;

use super::plugins;
use crate::chance::Chance;
use crate::faults::Fault;
use crate::world::World;

/// Any of those that are kept; one that cannot read the state is refused.
pub(crate) struct Rollback;

impl Fault for Rollback {
    fn name(&self) -> &'static str {
        "plugin-rollback"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, _for_ms: u64) {
        let mut chance = Chance::new(chance.below(u64::MAX), "rollback");
        let operator = world.operator.clone();
        operator.act(world, "plugin-rollback", move |client| {
            Box::pin(async move {
                let Some(plugin) = plugins::find(&client).await? else {
                    return Ok(());
                };
                let digests: Vec<String> = plugin
                    .versions
                    .into_iter()
                    .map(|version| version.digest)
                    .collect();
                let digest = chance
                    .pick(&digests)
                    .and_then(|digest| blake3::Hash::from_hex(digest).ok());
                if let Some(digest) = digest {
                    client
                        .change_plugins(PluginChange::Activate {
                            digest: *digest.as_bytes(),
                            replace: true,
                        })
                        .await?;
                }
                Ok(())
            })
        });
    }
}
