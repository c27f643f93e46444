//! RAFT: who leads, how this node stands, who the members are, and changing that.

use hostd_protocol::{Member, MemberChange, RaftInfo, Request, Response, Role};

use super::snapshot::snapshot;
use super::{Asking, Step, help, subcommand, unknown_subcommand};
use crate::resp::encode::Value;
use crate::resp::glob::matches;
use crate::{Elsewhere, Service};

/// Patterns of one RAFT INFO.
const PATTERNS_MAX: usize = 64;

const HELP: &[&str] = &[
    "RAFT HELP: this text",
    "RAFT INFO [pattern ...]: how this node stands",
    "RAFT LEADER: the leader's address",
    "RAFT SERVER ADD id address [VOTER|NONVOTER]: takes a node in",
    "RAFT SERVER DEMOTE id: makes a voter a learner",
    "RAFT SERVER LIST: the members",
    "RAFT SERVER PROMOTE id: makes a learner a voter",
    "RAFT SERVER REMOVE id: removes a node for good",
    "RAFT SNAPSHOT FILE id: where a snapshot of this node lies",
    "RAFT SNAPSHOT LIST: the snapshots of this node",
    "RAFT SNAPSHOT NOW: takes one",
    "RAFT SNAPSHOT READ id [RANGE start end]: a snapshot's bytes, or those from start up to end",
];

pub(super) fn raft<'a, S: Service>(asking: &Asking<'_, 'a, S>, arguments: &[Vec<u8>]) -> Step<'a> {
    let (wanted, rest) = subcommand(arguments);
    match (wanted.as_str(), rest) {
        ("leader", []) => asking.ask(Request::Raft, |response| match response {
            Response::Raft(info) => {
                let address = info.leader.map(|(_, address)| address);
                Some(Value::from(address.unwrap_or_default()))
            }
            _ => None,
        }),
        ("info", patterns) if patterns.len() <= PATTERNS_MAX => {
            let patterns = patterns.to_vec();
            asking.ask(Request::Raft, move |response| match response {
                Response::Raft(info) => Some(info_of(&info, &patterns)),
                _ => None,
            })
        }
        ("server", rest) => server(asking, rest),
        ("snapshot", rest) => snapshot(asking, rest),
        ("help", []) => Step::Now(help(HELP)),
        (wanted, _) => Step::Now(unknown_subcommand("raft", wanted)),
    }
}

fn server<'a, S: Service>(asking: &Asking<'_, 'a, S>, arguments: &[Vec<u8>]) -> Step<'a> {
    let (wanted, rest) = subcommand(arguments);
    let change = match (wanted.as_str(), rest) {
        ("list", []) => {
            return asking.ask(Request::Raft, |response| match response {
                Response::Raft(info) => {
                    Some(Value::Array(info.members.iter().map(member).collect()))
                }
                _ => None,
            });
        }
        ("add", [id, address]) => add(id, address, b"voter"),
        ("add", [id, address, kind]) => add(id, address, kind),
        ("remove", [id]) => number(id).map(MemberChange::Remove),
        ("promote", [id]) => number(id).map(MemberChange::Promote),
        ("demote", [id]) => number(id).map(MemberChange::Demote),
        (wanted, _) => return Step::Now(unknown_subcommand("raft", wanted)),
    };
    let Some(change) = change else {
        let usage = "invalid argument: a node's id is a number, and a member is VOTER or NONVOTER";
        return Step::Now(Value::error(usage));
    };
    let elsewhere = asking
        .shared
        .service
        .elsewhere(hostd_protocol::Access::Write);
    if let Some(elsewhere) = elsewhere {
        return Step::Now(sent(&elsewhere));
    }
    asking.ask(Request::Member(change), |response| match response {
        Response::Done => Some(Value::from("1")),
        _ => None,
    })
}

/// Where a client is sent.
pub(in crate::resp) fn sent(elsewhere: &Elsewhere) -> Value {
    Value::Error(match elsewhere {
        Elsewhere::Moved(address) => format!("MOVED 0 {address}"),
        Elsewhere::Try(address) => format!("TRY {address}"),
        Elsewhere::Nowhere => "CLUSTERDOWN no leader is known; try again shortly".into(),
    })
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn add(id: &[u8], address: &[u8], kind: &[u8]) -> Option<MemberChange> {
    let learner = match kind.to_ascii_lowercase().as_slice() {
        b"voter" => false,
        b"nonvoter" => true,
        _ => return None,
    };
    Some(MemberChange::Add {
        node: number(id)?,
        address: std::str::from_utf8(address).ok()?.to_owned(),
        learner,
    })
}

fn member(member: &Member) -> Value {
    Value::sorted([
        ("id", member.id.to_string()),
        ("address", member.address.clone()),
        ("leader", member.leader.to_string()),
        ("voter", member.voter.to_string()),
    ])
}

/// The pairs whose names match one of the patterns; all without any.
fn info_of(info: &RaftInfo, patterns: &[Vec<u8>]) -> Value {
    let configuration: Vec<String> = info
        .members
        .iter()
        .map(|member| {
            let kind = if member.voter { "Voter" } else { "Nonvoter" };
            format!(
                "{{Suffrage:{kind} ID:{} Address:{}}}",
                member.id, member.address
            )
        })
        .collect();
    let others = info.members.iter();
    let others = others.filter(|member| member.voter && member.id != info.id);
    let contact = info
        .last_contact_ms
        .map_or_else(|| "never".into(), |since| format!("{since}ms"));
    let pairs = [
        ("applied_index", info.applied.to_string()),
        ("commit_index", info.committed.to_string()),
        (
            "fsm_pending",
            info.committed.saturating_sub(info.applied).to_string(),
        ),
        ("id", info.id.to_string()),
        ("last_contact", contact),
        ("last_log_index", info.last_log.1.to_string()),
        ("last_log_term", info.last_log.0.to_string()),
        ("last_snapshot_index", info.snapshot.1.to_string()),
        ("last_snapshot_term", info.snapshot.0.to_string()),
        (
            "latest_configuration",
            format!("[{}]", configuration.join(" ")),
        ),
        (
            "leader",
            info.leader
                .as_ref()
                .map_or(String::new(), |(_, address)| address.clone()),
        ),
        // What the leader has beyond this node is more than it can know.
        (
            "logs_behind",
            info.last_log.1.saturating_sub(info.applied).to_string(),
        ),
        ("num_peers", others.count().to_string()),
        ("state", state(info.role).to_owned()),
        ("term", info.term.to_string()),
        ("voter", info.voter.to_string()),
    ];
    let wanted = |name: &str| {
        patterns.is_empty()
            || patterns
                .iter()
                .any(|pattern| matches(&pattern.to_ascii_lowercase(), name.as_bytes()))
    };
    Value::sorted(pairs.into_iter().filter(|(name, _)| wanted(name)))
}

fn state(role: Role) -> &'static str {
    match role {
        Role::Leader => "Leader",
        Role::Candidate => "Candidate",
        Role::Follower | Role::Learner => "Follower",
        Role::Unknown => "Shutdown",
    }
}
