//! INFO: sections of `name:value` lines, as Redis has them.

use hostd_protocol::{RaftInfo, Request, Response, Role};

use super::{Asking, Step, unexpected};
use crate::Service;
use crate::resp::encode::Value;

/// The version of Redis whose commands and replies are followed, for libraries that look at it.
const REDIS_VERSION: &str = "7.0.0";

pub(super) fn info<'a, S: Service>(asking: &Asking<'_, 'a, S>, arguments: &[Vec<u8>]) -> Step<'a> {
    let Some(node) = asking.node() else {
        return super::auth::unproved();
    };
    let wanted: Vec<String> = arguments
        .iter()
        .map(|section| String::from_utf8_lossy(section).to_ascii_lowercase())
        .filter(|section| !matches!(section.as_str(), "default" | "all" | "everything"))
        .collect();
    let clients = asking.shared.load.connections();
    Step::Later(Box::pin(async move {
        // Who may not observe the node may still ask what a library wants to know.
        let raft = match node.ask(Request::Raft).await {
            Ok(Response::Raft(raft)) => Some(raft),
            _ => None,
        };
        let raft = raft.as_deref();
        let plugins = match node.ask(Request::Commands).await {
            Ok(Response::Commands(plugins)) => plugins,
            Ok(_) => return unexpected(),
            Err(error) => return error,
        };
        let plugins: Vec<String> = plugins
            .iter()
            .map(|plugin| format!("{}:version={}\r\n", plugin.name, plugin.version))
            .collect();
        let sections = [
            ("server", server()),
            ("clients", format!("connected_clients:{clients}\r\n")),
            // Libraries wait for this before they send anything.
            ("persistence", "loading:0\r\n".to_owned()),
            ("replication", replication(raft)),
            ("cluster", "cluster_enabled:1\r\n".to_owned()),
            ("plugins", plugins.concat()),
        ];
        let text: Vec<String> = sections
            .iter()
            .filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name))
            .map(|(name, lines)| format!("# {}\r\n{lines}", capitalised(name)))
            .collect();
        Value::from(text.join("\r\n"))
    }))
}

fn server() -> String {
    format!(
        "redis_version:{REDIS_VERSION}\r\nredis_mode:standalone\r\nhostd_version:{}\r\nos:{}\r\n",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
    )
}

/// `role:master` on every node, since every node takes writes; what it is in Raft stands apart.
fn replication(raft: Option<&RaftInfo>) -> String {
    let lines = "role:master\r\nconnected_slaves:0\r\n".to_owned();
    let Some(raft) = raft else { return lines };
    let role = match raft.role {
        Role::Leader => "leader",
        Role::Follower => "follower",
        Role::Candidate => "candidate",
        Role::Learner => "learner",
        Role::Unknown => "unknown",
    };
    let leader = raft.leader.as_ref();
    lines
        + &format!(
            "raft_role:{role}\r\nraft_term:{}\r\nraft_leader:{}\r\nraft_applied_index:{}\r\n",
            raft.term,
            leader.map_or("", |(_, address)| address),
            raft.applied,
        )
}

fn capitalised(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_ascii_uppercase().to_string() + letters.as_str()
    })
}
