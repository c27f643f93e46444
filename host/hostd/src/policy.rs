//! The rules that a cluster begins with, from a file.

use std::path::Path;
use std::time::Duration;

use hostd_protocol::{CallError, Grant, PolicyChange, Rule};
use tokio::time::Instant;

use crate::config::ConfigError;
use crate::service::Service;

/// How long one attempt may take before it is tried again.
const ATTEMPT: Duration = Duration::from_secs(5);

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(200);

/// The rules of a file: one a line; empty lines and what follows a `#` at a line's beginning are
/// skipped.
pub(crate) fn read(path: &Path) -> Result<Vec<Rule>, ConfigError> {
    let bad = |detail: String| ConfigError::Flag {
        flag: "--policy",
        detail: format!("{}: {detail}", path.display()),
    };
    let text = std::fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
    let lines = text.lines().enumerate();
    let rules = lines
        .filter(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
        .map(|(number, line)| {
            let rule = line.parse::<Rule>();
            rule.map_err(|error| bad(format!("line {}: {error}", number + 1)))
        })
        .collect::<Result<Vec<_>, _>>()?;
    if !rules.iter().any(|rule| rule.grant == Grant::Admin) {
        return Err(bad(
            "no line makes anybody admin, so nobody could change these rules; add: admin admin"
                .into(),
        ));
    }
    Ok(rules)
}

/// Gives a cluster that has no rules these, and then lets clients in. Waits until the cluster can take
/// them.
pub(crate) async fn bootstrap(service: &Service, rules: &[Rule]) {
    while !rules.is_empty() && !try_bootstrap(service, rules).await {
        tokio::time::sleep(PAUSE).await;
    }
    service.open();
}

/// Whether the matter is settled.
async fn try_bootstrap(service: &Service, rules: &[Rule]) -> bool {
    let deadline = Instant::now() + ATTEMPT;
    match service.has_rules(deadline).await {
        Ok(false) => {}
        Ok(true) => {
            tracing::info!("the cluster has access rules, so those of --policy are not looked at");
            return true;
        }
        Err(_) => return false,
    }
    // Nobody's name: no client can have it, so it is no rule's either.
    let change = PolicyChange::Allow(rules.to_vec());
    match service.change_policy("", change, deadline).await {
        Ok(_) => {
            tracing::info!(rules = rules.len(), "the cluster has the rules of --policy");
            true
        }
        // Another node was first.
        Err(CallError::Rejected(_)) => true,
        Err(CallError::Failed(failure)) => {
            tracing::info!(%failure, "the cluster does not have the rules of --policy yet; trying again");
            false
        }
    }
}
