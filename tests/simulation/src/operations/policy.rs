//! A rule is added for a guest, and taken away again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hostd_client::{CallError, Client, PolicyChange, Rule};

use crate::chance::Chance;
use crate::faults::Fault;
use crate::faults::partition::{cut_for, host};
use crate::net::client_address;
use crate::operator::OPERATOR;
use crate::workloads::access::{GUEST, GUESTS, PATHS, Record, answer};
use crate::world::World;

/// Its name.
pub(crate) const NAME: &str = "policy";

/// For so long the guests go on as they are after the rule is gone.
const LATER_MS: u64 = 500;

/// Between attempts to add the first rules.
const PAUSE: Duration = Duration::from_millis(200);

/// Rules come and go.
pub(crate) struct Policy;

impl Fault for Policy {
    fn name(&self) -> &'static str {
        NAME
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, for_ms: u64) {
        let (path, grant) = PATHS[chance.below(PATHS.len() as u64) as usize];
        let record = Arc::clone(&world.access);
        apart(world, chance, for_ms + LATER_MS);
        let operator = world.operator.clone();
        operator.act(world, NAME, move |client| {
            Box::pin(async move {
                begin(&client, &record).await?;
                change(&client, &record, path, grant, true).await?;
                tokio::time::sleep(Duration::from_millis(for_ms)).await;
                change(&client, &record, path, grant, false).await
            })
        });
    }
}

/// Each guest sees one node only, whichever leads: what that node lets through, another one logs.
fn apart(world: &mut World, chance: &mut Chance, for_ms: u64) {
    let nodes: Vec<u64> = world.nodes.keys().copied().collect();
    for number in GUESTS {
        let Some(seen) = chance.pick(&nodes).copied() else {
            return;
        };
        let hidden = nodes.iter().filter(|id| **id != seen);
        let hidden = hidden.map(|id| host(*id)).collect();
        cut_for(world, vec![client_address(number).ip()], hidden, for_ms);
    }
}

/// Once there is one rule, what no rule allows is denied. Before, all is allowed, and the guest waits.
async fn begin(client: &Client, record: &Record) -> Result<(), CallError> {
    if record.begun.load(Ordering::Relaxed) {
        return Ok(());
    }
    for (path, _) in PATHS {
        let told = record.change(OPERATOR, path, false);
        told(answer(&Ok(Vec::new())));
    }
    let first = || PolicyChange::Allow(vec![rule("observe")]);
    while let Err(error) = client.change_policy(first()).await {
        // A cluster that is being upgraded knows no rules yet.
        if error.code() == "unsupported" {
            return Err(error);
        }
        tokio::time::sleep(PAUSE).await;
    }
    record.begun.store(true, Ordering::Relaxed);
    Ok(())
}

async fn change(
    client: &Client,
    record: &Record,
    path: &str,
    grant: &str,
    allowed: bool,
) -> Result<(), CallError> {
    let rules = vec![rule(grant)];
    let change = if allowed {
        PolicyChange::Allow(rules)
    } else {
        PolicyChange::Revoke(rules)
    };
    let told = record.change(OPERATOR, path, allowed);
    let result = client.change_policy(change).await;
    told(answer(&result));
    result.map(drop)
}

fn rule(grant: &str) -> Rule {
    format!("{GUEST} {grant}").parse().expect("a rule")
}
