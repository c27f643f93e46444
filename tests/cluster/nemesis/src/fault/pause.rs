//! SIGSTOP: a process that does nothing for a while and then goes on where it was, such as a
//! leader that does not know that it leads no more.

use anyhow::Result;
use cluster_tests::Signal;

use super::{Fault, list};
use crate::field::Field;
use crate::random::Random;

#[derive(Default)]
pub(crate) struct Pause {
    frozen: Vec<(u64, u32)>,
}

impl Fault for Pause {
    fn inject(&mut self, field: &mut Field, random: &mut Random) -> Result<String> {
        let count = *random.pick(&[1, 1, 1, field.majority(), field.voters()]);
        let ids = field.pick_some(count, random)?;
        for id in &ids {
            let node = field.cluster.node(*id)?;
            if let Some(process) = node.process_id() {
                node.signal(Signal::Stop)?;
                self.frozen.push((*id, process));
            }
        }
        Ok(format!("froze {}", list(&ids)))
    }

    fn heal(&mut self, field: &mut Field) -> Result<()> {
        for (id, process) in self.frozen.drain(..) {
            let node = field.cluster.node(id)?;
            // Another fault may have killed it meanwhile.
            if node.process_id() == Some(process) {
                node.signal(Signal::Continue)?;
            }
        }
        Ok(())
    }
}
