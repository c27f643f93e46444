//! Members that go and come: replaced alive or dead, demoted and promoted again.

use anyhow::{Context as _, Result};
use cluster_tests::wait_for;

use super::Fault;
use crate::field::{Field, PATIENCE};
use crate::random::Random;

#[derive(Default)]
pub(crate) struct Membership {
    demoted: Option<u64>,
}

impl Fault for Membership {
    fn inject(&mut self, field: &mut Field, random: &mut Random) -> Result<String> {
        let way = random.below(4);
        let id = field.pick(random)?;
        Ok(match way {
            0 => {
                let new = field.replace(id)?;
                format!("replaced {id}, which ran, by {new}")
            }
            1 => {
                field.cluster.node(id)?.kill()?;
                let new = field.replace(id)?;
                format!("replaced {id}, which was dead, by {new}")
            }
            2 => {
                let new = field.add_node()?;
                field.remove_member(id)?;
                field.take_away(id)?;
                format!("added {new}, then removed {id}")
            }
            _ => {
                change(field, "demote", id)?;
                self.demoted = Some(id);
                format!("demoted {id}")
            }
        })
    }

    fn heal(&mut self, field: &mut Field) -> Result<()> {
        match self.demoted.take() {
            Some(id) => change(field, "promote", id),
            None => Ok(()),
        }
    }
}

/// Repeats it until it is done: while leadership moves, it may be refused.
fn change(field: &Field, verb: &str, id: u64) -> Result<()> {
    let mut last = None;
    let done = wait_for(&format!("node {id}: {verb}"), PATIENCE, || {
        let hostctl = field.cluster.hostctl().timeout("10s");
        let answer = hostctl.run(["member", verb, &id.to_string()]);
        let done = answer.as_ref().is_ok_and(|answer| answer.code == Some(0));
        last = Some(answer);
        done
    });
    done.with_context(|| format!("the last attempt: {last:?}"))?;
    Ok(())
}
