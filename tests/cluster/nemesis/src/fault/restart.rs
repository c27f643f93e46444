//! SIGTERM: one node after another, or all at once, each with exit code 0.

use anyhow::Result;
use cluster_tests::Signal;

use super::{Fault, list};
use crate::field::{Field, PATIENCE};
use crate::random::Random;

#[derive(Default)]
pub(crate) struct Restart {
    stopped: Vec<u64>,
}

impl Fault for Restart {
    fn inject(&mut self, field: &mut Field, random: &mut Random) -> Result<String> {
        let all_at_once = random.once_in(3);
        let mut nodes = field.running();
        random.shuffle(&mut nodes);
        if all_at_once {
            for id in &nodes {
                field.cluster.node(*id)?.signal(Signal::Term)?;
            }
            for id in &nodes {
                field.cluster.node(*id)?.wait_stopped(PATIENCE)?;
            }
            self.stopped.clone_from(&nodes);
            return Ok(format!("stopped {} at once", list(&nodes)));
        }
        for id in &nodes {
            field.cluster.node(*id)?.stop(PATIENCE)?;
            field.start_node(*id)?;
            field.wait_healthy()?;
        }
        Ok(format!("stopped and started {} in turn", list(&nodes)))
    }

    fn heal(&mut self, field: &mut Field) -> Result<()> {
        self.stopped.iter().try_for_each(|id| field.start_node(*id))
    }
}
