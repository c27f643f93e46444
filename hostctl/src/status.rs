//! `hostctl status`.

use hostd_protocol::{EngineIdentity, Health, NodeStatus, Role};

use crate::args::{Format, Global};
use crate::exit::Exit;
use crate::{connect, output};

/// Digits of a digest that people compare.
const DIGEST_DIGITS: usize = 8;

pub(crate) async fn run(global: &Global) -> Result<(), Exit> {
    let client = connect::one_shot(global).await?;
    let rows = client.status().await;
    client.close().await;
    let rows = rows?;
    match global.output {
        Format::Json => output::json(&rows)?,
        Format::Text => {
            table(&rows)?;
            if let Some(told) = newer_rules(&rows) {
                output::line(&told)?;
            }
        }
    }
    Ok(())
}

fn table(rows: &[NodeStatus]) -> std::io::Result<()> {
    output::table(
        &[
            ">ID",
            "ADDRESS",
            "VERSION",
            "ROLE",
            "LEADER",
            ">TERM",
            ">LAST",
            ">APPLIED",
            ">CHECKPOINT",
            "DIGEST",
            ">DATA",
            "PLUGINS",
            "HEALTH",
        ],
        rows.iter().map(row).collect(),
    )
}

/// What a cluster waits for whose hostd is being upgraded: the rules in force are older than what some
/// node knows.
fn newer_rules(rows: &[NodeStatus]) -> Option<String> {
    let rules = |engine: &EngineIdentity| engine.rules;
    let in_force = rows
        .iter()
        .filter_map(|row| row.engine.as_ref().map(rules))
        .max()?;
    let newest = rows
        .iter()
        .flat_map(|row| row.honours.iter().map(rules))
        .max()?;
    if newest <= in_force {
        return None;
    }
    let lacks = |row: &&NodeStatus| !row.honours.iter().any(|engine| engine.rules == newest);
    let (answer, silent): (Vec<_>, Vec<_>) =
        rows.iter().filter(lacks).partition(|row| row.reachable);
    let mut awaited = Vec::new();
    match answer.as_slice() {
        [] => {}
        [_] => awaited.push(format!("{} runs a hostd that knows them", nodes(&answer))),
        _ => awaited.push(format!("{} run a hostd that knows them", nodes(&answer))),
    }
    match silent.as_slice() {
        [] => {}
        [_] => awaited.push(format!("{} answers", nodes(&silent))),
        _ => awaited.push(format!("{} answer", nodes(&silent))),
    }
    let until = match awaited.as_slice() {
        [] => String::new(),
        awaited => format!(", once {}", awaited.join(" and ")),
    };
    Some(format!(
        "rules {in_force} are in force; {newest} follow by themselves{until}"
    ))
}

fn nodes(rows: &[&NodeStatus]) -> String {
    let ids: Vec<String> = rows.iter().map(|row| row.id.to_string()).collect();
    match ids.as_slice() {
        [one] => format!("node {one}"),
        several => format!("nodes {}", several.join(", ")),
    }
}

fn row(node: &NodeStatus) -> Vec<String> {
    if !node.reachable {
        let mut row = vec![node.id.to_string(), node.address.clone()];
        row.extend(std::iter::repeat_n("-".to_owned(), 10));
        row.push(health(node.health).to_owned());
        return row;
    }
    let plugins: Vec<_> = node
        .plugins
        .iter()
        .map(|plugin| format!("{} {}", plugin.name, plugin.version))
        .collect();
    vec![
        node.id.to_string(),
        node.address.clone(),
        node.version.clone(),
        role(node.role).to_owned(),
        if node.leader { "yes" } else { "no" }.to_owned(),
        node.term.to_string(),
        node.last_log.to_string(),
        node.applied.to_string(),
        node.checkpoint.to_string(),
        match node.digest.get(..DIGEST_DIGITS) {
            Some(digits) => digits.to_owned(),
            None => "-".to_owned(),
        },
        output::size(node.data_bytes),
        plugins.join(", "),
        health(node.health).to_owned(),
    ]
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Leader => "leader",
        Role::Follower => "follower",
        Role::Candidate => "candidate",
        Role::Learner => "learner",
        Role::Unknown => "unknown",
    }
}

fn health(health: Health) -> &'static str {
    match health {
        Health::Ok => "ok",
        Health::Lagging => "lagging",
        Health::NoSpace => "no_space",
        Health::Quarantined => "quarantined",
        Health::Unreachable => "unreachable",
    }
}
