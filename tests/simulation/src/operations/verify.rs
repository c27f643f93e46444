//! The states of all nodes are compared on demand, while everything goes wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use hostd_protocol::{Verdict, Verified};

use crate::chance::Chance;
use crate::checks::Invariants;
use crate::faults::Fault;
use crate::world::{Violation, World};

/// How long the client waits.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is told must be what the nodes' digests say.
pub(crate) struct Verify;

impl Fault for Verify {
    fn name(&self) -> &'static str {
        "verify"
    }

    fn begin(&self, world: &mut World, _chance: &mut Chance, _for_ms: u64) {
        let (operator, mailbox) = (world.operator.clone(), world.mailbox.clone());
        operator.act(world, "verify", move |client| {
            Box::pin(async move {
                let verified = client.verify(PATIENCE).await?;
                mailbox.put(move |world| {
                    let answered = verified.nodes.iter().filter(|row| !row.digest.is_empty());
                    world
                        .counters
                        .add("states compared", answered.count() as u64);
                    if let Err(text) = judge(&verified, &world.invariants) {
                        world.fail(Violation::new("verify", text));
                    }
                });
                Ok(())
            })
        });
    }
}

/// Whether what was found is so. A majority is right; without one, nobody is unless all agree.
fn judge(verified: &Verified, invariants: &Invariants) -> Result<(), String> {
    let mut alike: BTreeMap<&str, usize> = BTreeMap::new();
    for row in verified.nodes.iter().filter(|row| !row.digest.is_empty()) {
        *alike.entry(&row.digest).or_default() += 1;
        let told = invariants.digest(row.id, verified.checkpoint);
        if told.is_some_and(|told| Some(told) != short(&row.kept)) {
            return Err(format!(
                "node {} is said to have another digest at checkpoint {} than it told: {row:?}",
                row.id, verified.checkpoint
            ));
        }
    }
    let most = |times: &usize| *times > verified.nodes.len() / 2;
    if verified.majority != alike.values().any(most) {
        return Err(format!("a majority is not counted rightly: {verified:?}"));
    }
    for row in verified.nodes.iter().filter(|row| !row.digest.is_empty()) {
        let right = (alike.len() == 1 || alike.get(&*row.digest).is_some_and(most))
            && row.kept == row.digest;
        let blamed = match row.verdict {
            Verdict::Agrees => false,
            Verdict::Differs => true,
            _ => return Err(format!("node {} answered, and it is said: {row:?}", row.id)),
        };
        if right == blamed {
            return Err(format!("node {} is judged wrongly: {verified:?}", row.id));
        }
        if row.against.is_some() && row.reason.is_empty() && row.differences.is_empty() {
            return Err(format!(
                "what differs on node {} is not named: {verified:?}",
                row.id
            ));
        }
    }
    Ok(())
}

/// The beginning of a digest, as nodes tell it.
fn short(digest: &str) -> Option<u64> {
    let first = digest.get(..16)?;
    u64::from_str_radix(first, 16).ok().map(u64::swap_bytes)
}
