//! SIGKILL: what a process had not given to the kernel is gone.

use std::time::Duration;

use anyhow::Result;

use super::{Fault, list};
use crate::field::Field;
use crate::random::Random;

#[derive(Default)]
pub(crate) struct Kill {
    killed: Vec<u64>,
}

impl Fault for Kill {
    fn inject(&mut self, field: &mut Field, random: &mut Random) -> Result<String> {
        let count = *random.pick(&[1, 1, 1, field.majority(), field.voters()]);
        let again = random.below(3);
        self.killed = field.pick_some(count, random)?;
        // Again while they start, before they stay down.
        for _ in 0..again {
            for id in &self.killed {
                field.cluster.node(*id)?.kill()?;
            }
            for id in &self.killed {
                field.start_node(*id)?;
            }
            if random.once_in(2) {
                // Ready or, where no majority can be reached, not: it must only not end.
                field.wait(random.between(Duration::ZERO, Duration::from_secs(2)))?;
            }
        }
        for id in &self.killed {
            field.cluster.node(*id)?.kill()?;
        }
        let times = again + 1;
        Ok(format!("killed {} ({times} times)", list(&self.killed)))
    }

    fn heal(&mut self, field: &mut Field) -> Result<()> {
        for id in &self.killed {
            field.start_node(*id)?;
        }
        Ok(())
    }
}
