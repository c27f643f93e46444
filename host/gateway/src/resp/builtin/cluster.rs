//! CLUSTER: this node and the others, as clients of a Redis cluster want to know them.
//!
//! All slots are the asked node's: every node takes every command and passes on what is the leader's.
//! Only where it is told not to, they are the leader's. The other nodes are listed as its replicas, so
//! that clients know whom to ask when it is gone.

use std::fmt::Write as _;

use hostd_protocol::{Member, RaftInfo, Request, Response};

use super::{Asking, Step, help, subcommand, unexpected, unknown_subcommand};
use crate::resp::encode::Value;
use crate::{Elsewhere, Service};

/// Slots of a Redis cluster.
const SLOTS: i64 = 16_384;

/// What a Redis cluster's own port is beyond the clients'.
const BUS_PORT_OFFSET: u32 = 10_000;

const HELP: &[&str] = &[
    "CLUSTER HELP: this text",
    "CLUSTER INFO: how the cluster is",
    "CLUSTER KEYSLOT key: the slot of a key",
    "CLUSTER MYID: this node's id",
    "CLUSTER NODES: the nodes, one a line",
    "CLUSTER SHARDS: the nodes, for newer clients",
    "CLUSTER SLOTS: the nodes, for older clients",
];

pub(super) fn cluster<'a, S: Service>(
    asking: &Asking<'_, 'a, S>,
    arguments: &[Vec<u8>],
) -> Step<'a> {
    let (wanted, rest) = subcommand(arguments);
    let render: fn(&Nodes) -> Value = match (wanted.as_str(), rest) {
        ("info", []) => info,
        ("myid", []) => |nodes| Value::from(id(nodes.own)),
        ("nodes", []) => lines,
        ("slots", []) => slots,
        ("shards", []) => shards,
        ("keyslot", [key]) => return Step::Now(Value::Integer(i64::from(slot(key)))),
        ("help", []) => return Step::Now(help(HELP)),
        (wanted, _) => return Step::Now(unknown_subcommand("cluster", wanted)),
    };
    // To a node that sends its clients away, no slot belongs.
    let elsewhere = asking
        .shared
        .service
        .elsewhere(hostd_protocol::Access::Write);
    let leads = matches!(elsewhere, Some(Elsewhere::Moved(_) | Elsewhere::Try(_)));
    let Some(node) = asking.node() else {
        return super::auth::unproved();
    };
    Step::Later(Box::pin(async move {
        if let Ok(Response::Raft(info)) = node.ask(Request::Raft).await {
            return render(&Nodes::of(&info, leads));
        }
        // Who may not observe the node may still know the members, and goes to the leader.
        match node.ask(Request::Members).await {
            Ok(Response::Members(members)) => render(&Nodes::of_members(members)),
            Ok(_) => unexpected(),
            Err(error) => error,
        }
    }))
}

/// The nodes, the owner of all slots first.
struct Nodes {
    own: u64,
    term: u64,
    members: Vec<Member>,
    /// There is somebody who takes commands.
    ok: bool,
}

impl Nodes {
    fn of(info: &RaftInfo, leader_first: bool) -> Self {
        let mut members = info.members.clone();
        let leader = info.leader.as_ref().map(|(id, _)| *id);
        let owner = leader.filter(|_| leader_first).unwrap_or(info.id);
        members.sort_by_key(|member| (member.id != owner, member.id));
        Self {
            own: info.id,
            term: info.term,
            members,
            ok: leader.is_some(),
        }
    }

    /// With the leader as the owner.
    fn of_members(mut members: Vec<Member>) -> Self {
        members.sort_by_key(|member| (!member.leader, member.id));
        let first = members.first();
        Self {
            own: first.map_or(0, |member| member.id),
            term: 0,
            ok: first.is_some_and(|member| member.leader),
            members,
        }
    }
}

/// An id as a Redis cluster has them: 40 hexadecimal digits.
fn id(node: u64) -> String {
    format!("{node:040x}")
}

fn host_and_port(member: &Member) -> (&str, u16) {
    let (host, port) = member
        .address
        .rsplit_once(':')
        .unwrap_or((&member.address, "0"));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (host, port.parse().unwrap_or(0))
}

fn info(nodes: &Nodes) -> Value {
    let count = nodes.members.len();
    let (state, slots) = if nodes.ok { ("ok", SLOTS) } else { ("fail", 0) };
    let term = nodes.term;
    Value::from(format!(
        "cluster_enabled:1\r\ncluster_state:{state}\r\ncluster_slots_assigned:{SLOTS}\r\n\
         cluster_slots_ok:{slots}\r\ncluster_slots_pfail:0\r\ncluster_slots_fail:{}\r\n\
         cluster_known_nodes:{count}\r\ncluster_size:1\r\ncluster_current_epoch:{term}\r\n\
         cluster_my_epoch:{term}\r\n",
        SLOTS - slots
    ))
}

fn lines(nodes: &Nodes) -> Value {
    let mut text = String::new();
    let owner = nodes.members.first().map(|member| member.id);
    for (position, member) in nodes.members.iter().enumerate() {
        let (host, port) = host_and_port(member);
        let bus = u32::from(port) + BUS_PORT_OFFSET;
        let own = if member.id == nodes.own {
            "myself,"
        } else {
            ""
        };
        let (role, master, slots) = match (position, owner) {
            (0, _) | (_, None) => ("master", "-".to_owned(), format!(" 0-{}", SLOTS - 1)),
            (_, Some(owner)) => ("slave", id(owner), String::new()),
        };
        // Writing to memory does not fail.
        let _ = writeln!(
            text,
            "{} {host}:{port}@{bus} {own}{role} {master} 0 0 {} connected{slots}",
            id(member.id),
            nodes.term,
        );
    }
    Value::from(text)
}

fn slots(nodes: &Nodes) -> Value {
    let mut all = vec![Value::Integer(0), Value::Integer(SLOTS - 1)];
    all.extend(nodes.members.iter().map(|member| {
        let (host, port) = host_and_port(member);
        Value::Array(vec![
            Value::from(host),
            Value::Integer(port.into()),
            Value::from(id(member.id)),
            Value::Array(Vec::new()),
        ])
    }));
    Value::Array(vec![Value::Array(all)])
}

fn shards(nodes: &Nodes) -> Value {
    let member = |(position, member): (usize, &Member)| {
        let (host, port) = host_and_port(member);
        let role = if position == 0 { "master" } else { "replica" };
        let pairs = [
            ("id", Value::from(id(member.id))),
            ("port", Value::Integer(port.into())),
            ("ip", Value::from(host)),
            ("endpoint", Value::from(host)),
            ("role", Value::from(role)),
            ("replication-offset", Value::Integer(0)),
            ("health", Value::from("online")),
        ];
        map(pairs)
    };
    let range = vec![Value::Integer(0), Value::Integer(SLOTS - 1)];
    let members = nodes.members.iter().enumerate().map(member).collect();
    let shard = [
        ("slots", Value::Array(range)),
        ("nodes", Value::Array(members)),
    ];
    Value::Array(vec![map(shard)])
}

fn map<const N: usize>(pairs: [(&str, Value); N]) -> Value {
    let pairs = pairs.into_iter();
    Value::Map(
        pairs
            .map(|(key, value)| (Value::from(key), value))
            .collect(),
    )
}

/// The slot of a key: of what is between its first `{` and the next `}`, if that is anything.
fn slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let length = rest.iter().position(|byte| *byte == b'}')?;
        (length > 0).then(|| &rest[..length])
    });
    crc16(tag.unwrap_or(key)) % SLOTS as u16
}

/// CRC16-CCITT (XMODEM), as the specification of Redis Cluster has it.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc: u16, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            let carried = crc & 0x8000 != 0;
            (crc << 1) ^ if carried { 0x1021 } else { 0 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot(b"foo"), 12_182);
        assert_eq!(slot(b"{foo}.bar"), slot(b"foo"));
        assert_eq!(slot(b"{}.bar"), crc16(b"{}.bar") % 16_384);
    }

    #[test]
    fn the_asked_node_comes_first_unless_it_sends_its_clients_away() {
        let member = |id: u64| Member {
            id,
            address: format!("[::1]:{id}"),
            voter: true,
            leader: id == 2,
        };
        let info = RaftInfo {
            id: 3,
            address: "[::1]:3".into(),
            role: hostd_protocol::Role::Follower,
            voter: true,
            leader: Some((2, "[::1]:2".into())),
            term: 4,
            last_log: (4, 9),
            committed: 9,
            applied: 9,
            snapshot: (0, 0),
            members: (1..=3).map(member).collect(),
            last_contact_ms: None,
        };
        let order = |leader_first| -> Vec<u64> {
            let nodes = Nodes::of(&info, leader_first);
            nodes.members.iter().map(|member| member.id).collect()
        };
        assert_eq!(order(false), [3, 1, 2]);
        assert_eq!(order(true), [2, 1, 3]);
        assert_eq!(host_and_port(&member(7)), ("::1", 7));
        let Value::Bulk(text) = lines(&Nodes::of(&info, false)) else {
            panic!("no text");
        };
        let text = String::from_utf8(text).unwrap();
        let own = format!(
            "{} ::1:3@10003 myself,master - 0 0 4 connected 0-16383\n",
            id(3)
        );
        assert!(text.starts_with(&own), "{text}");
    }
}
