//! A version is tried on what its plugin was asked last, on one node, without any effect.

use super::plugins;
use crate::chance::Chance;
use crate::faults::Fault;
use crate::world::{Violation, World};

/// How many calls are played.
const LAST: u32 = 200;

/// The version that runs is tried against itself: whatever node does it, after whatever, no call may
/// fare otherwise. Where a version was activated after the checkpoint from which calls are played, those
/// before it were answered by another one, and differ rightly.
pub(crate) struct DryRun;

impl Fault for DryRun {
    fn name(&self) -> &'static str {
        "plugin-dry-run"
    }

    fn begin(&self, world: &mut World, _chance: &mut Chance, _for_ms: u64) {
        let components: Vec<_> = (1..=3)
            .flat_map(|layout| (0..plugins::VARIANTS).map(move |variant| (layout, variant)))
            .filter_map(|(layout, variant)| plugins::component(world, layout, variant))
            .collect();
        let (operator, mailbox) = (world.operator.clone(), world.mailbox.clone());
        operator.act(world, "plugin-dry-run", move |client| {
            Box::pin(async move {
                let Some(plugin) = plugins::find(&client).await? else {
                    return Ok(());
                };
                let Some(active) = plugin.versions.iter().find(|version| version.active) else {
                    return Ok(());
                };
                let running = components
                    .iter()
                    .find(|component| blake3::hash(component).to_hex().as_str() == active.digest);
                let Some(component) = running else {
                    return Ok(());
                };
                let run = client.dry_run(component.to_vec(), LAST).await?;
                let since = active.index;
                mailbox.put(move |world| {
                    world.counters.add("calls tried on a version", run.calls);
                    let steady = run.present == run.candidate && since <= run.checkpoint;
                    if steady && run.differing > 0 {
                        let text = format!(
                            "{} of {} calls fare otherwise with the version that runs: {:?}",
                            run.differing,
                            run.calls,
                            run.differences.first()
                        );
                        world.fail(Violation::new("dry run", text));
                    }
                });
                Ok(())
            })
        });
    }
}
