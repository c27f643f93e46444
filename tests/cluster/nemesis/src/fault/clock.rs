//! Wall clocks that are wrong, on one node or on several, and that jump while the fault lasts.
//!
//! Never by so much that the cluster's time, which only rises, gets to where it forgets
//! idempotency keys that clients still use: ten minutes.

use anyhow::{Context as _, Result};
use cluster_tests::Clocks;

use super::Fault;
use crate::field::Field;
use crate::random::Random;

#[derive(Default)]
pub(crate) struct Clock {
    changed: Vec<u64>,
}

impl Fault for Clock {
    fn inject(&mut self, field: &mut Field, random: &mut Random) -> Result<String> {
        let count = *random.pick(&[1, 1, field.majority(), field.voters()]);
        self.changed = field.pick_some(count, random)?;
        let clocks = field.clocks.as_ref().context("clocks cannot be changed")?;
        let mut words = Vec::new();
        for id in &self.changed {
            let far = *random.pick(&[1_000, 20_000, Clocks::FAR_MS]);
            let ahead = random.below(2 * far) as i64 - far as i64;
            // Back and forth before it stays there.
            for _ in 0..random.below(4) {
                clocks.set(*id, -ahead)?;
                std::thread::sleep(std::time::Duration::from_millis(random.below(100)));
                clocks.set(*id, ahead)?;
            }
            words.push(format!("{id} by {ahead} ms"));
        }
        Ok(format!("set the clock of {}", words.join(", ")))
    }

    fn heal(&mut self, field: &mut Field) -> Result<()> {
        let Some(clocks) = &field.clocks else {
            return Ok(());
        };
        self.changed.iter().try_for_each(|id| clocks.set(*id, 0))
    }
}
