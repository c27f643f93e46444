//! Leadership that is moved on purpose, a few times in a row.

use anyhow::{Result, ensure};

use super::Fault;
use crate::field::Field;
use crate::random::Random;

#[derive(Default)]
pub(crate) struct Transfer;

impl Fault for Transfer {
    fn inject(&mut self, field: &mut Field, random: &mut Random) -> Result<String> {
        let mut words = Vec::new();
        for _ in 0..=random.below(4) {
            let target = field.pick(random)?.to_string();
            let named = random.once_in(2);
            let mut command = vec!["member", "transfer"];
            if named {
                command.push(&target);
            }
            let answer = field.cluster.hostctl().timeout("3s").run(command)?;
            // A leader may lose its leadership by itself just then, or the target lag.
            ensure!(
                answer.code.is_some_and(|code| [0, 3, 7].contains(&code)),
                "{answer:?}"
            );
            let to = if named { target } else { "anybody".into() };
            let refused = if answer.code == Some(0) {
                ""
            } else {
                " (refused)"
            };
            words.push(format!("{to}{refused}"));
        }
        Ok(format!("moved leadership to {}", words.join(", then ")))
    }

    fn heal(&mut self, _: &mut Field) -> Result<()> {
        Ok(())
    }
}
