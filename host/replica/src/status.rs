//! What a node tells about itself.

use std::{collections::BTreeSet, time::Duration};

use hostd_protocol::{
    ClockInfo, Failure, FailureCode, Health, Member, NodeId, NodeStatus, PluginStatus, RaftInfo,
    Role, hex,
};
use openraft::{ServerState, async_runtime::WatchReceiver};

use crate::{
    network::{Ask, Destination, Tell},
    replica::{ASK_TIMEOUT, Replica, no_quorum},
    types::{Node, term_and_index},
};

/// A node that has so many committed entries to apply is behind.
const LAGGING_ENTRIES: u64 = 1_000;

impl Replica {
    /// This node's row; or with `all`, a row for every member.
    pub async fn status(&self, all: bool) -> Vec<NodeStatus> {
        if all {
            self.statuses().await
        } else {
            vec![self.own_status()]
        }
    }

    /// Whether this node can do its work.
    pub fn health(&self) -> Health {
        let committed = {
            let data = self.inner().raft.data_metrics();
            let data = data.borrow_watched();
            data.cluster_committed
                .as_ref()
                .map_or(0, openraft::LogId::index)
        };
        if self.quarantined() {
            Health::Quarantined
        } else if committed.saturating_sub(self.applied_index()) > LAGGING_ENTRIES {
            Health::Lagging
        } else if self.inner().shortage.is_on() {
            Health::NoSpace
        } else {
            Health::Ok
        }
    }

    /// Why nothing can be decided through this node at present, as far as it knows; `None` when it
    /// can.
    pub fn indecision(&self) -> Option<Failure> {
        if self.is_leader() {
            return (!self.has_quorum()).then(no_quorum);
        }
        if self.heard_leader().is_some() {
            return None;
        }
        // A node that was removed is told nothing, not even that.
        let message = match (self.inner().leader_heard.since(), self.has_joined()) {
            (Some(since), true) => format!(
                "no leader was heard for {} s; if this node was removed from its cluster, stop it \
                 (`hostctl -s` another node `status` shows the members)",
                since.as_secs()
            ),
            _ => "no leader is known".to_owned(),
        };
        Some(Failure::new(FailureCode::NoLeader, message))
    }

    /// Index of the first entry that is still in this node's log.
    pub fn log_begins_at(&self) -> u64 {
        let data = self.inner().raft.data_metrics();
        let data = data.borrow_watched();
        data.purged.as_ref().map_or(0, |purged| purged.index() + 1)
    }

    /// This node's row.
    pub fn own_status(&self) -> NodeStatus {
        let server = self.inner().raft.server_metrics().borrow_watched().clone();
        let data = self.inner().raft.data_metrics().borrow_watched().clone();
        let durable = self.inner().progress.durable.borrow().clone();
        let applied = self.applied_index();
        let view = self.views().latest();
        let config = &self.inner().config;
        NodeStatus {
            id: self.id(),
            address: config.address.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            role: self.role(server.state),
            leader: server.state == ServerState::Leader,
            term: server.vote.leader_id().term,
            first_log: data.purged.as_ref().map_or(0, |purged| purged.index() + 1),
            last_log: data.last_log.as_ref().map_or(0, openraft::LogId::index),
            applied,
            checkpoint: durable.position.map_or(0, |position| position.index),
            digest: match durable.position {
                Some(_) => hex(&durable.digest),
                None => String::new(),
            },
            engine: view.runs().cloned(),
            honours: self.honours(),
            data_bytes: [&config.state_file, &config.log_file]
                .into_iter()
                .filter_map(|file| std::fs::metadata(file).ok())
                .map(|metadata| metadata.len())
                .sum(),
            health: self.health(),
            reachable: true,
            plugins: view
                .catalogue()
                .plugins()
                .map(|(description, digest)| PluginStatus {
                    name: description.name.clone(),
                    version: description.version.clone(),
                    digest: hex(&digest),
                })
                .collect(),
        }
    }

    /// A row for every member, asked at the same time, sorted by number. Whoever does not answer
    /// is listed as unreachable.
    async fn statuses(&self) -> Vec<NodeStatus> {
        let own = self.id();
        let others =
            self.nodes()
                .into_iter()
                .filter(|(id, _)| *id != own)
                .map(|(id, node)| async move {
                    let answer = self
                        .ask(
                            Destination::Member(id, node.clone()),
                            Ask::Status,
                            ASK_TIMEOUT,
                        )
                        .await;
                    match answer {
                        Ok(Tell::Status(status)) => *status,
                        _ => unreachable_status(id, &node),
                    }
                });
        let mut all = futures_util::future::join_all(others).await;
        all.push(self.own_status());
        all.sort_by_key(|status| status.id);
        all
    }

    /// The members as this node knows them, sorted by number.
    pub fn members(&self) -> Vec<Member> {
        let server = self.inner().raft.server_metrics().borrow_watched().clone();
        server
            .membership_config
            .membership()
            .nodes()
            .map(|(id, node)| Member {
                id: *id,
                address: node.address.clone(),
                voter: self.counts(*id),
                leader: server.current_leader == Some(*id),
            })
            .collect()
    }

    /// This node's part in Raft. Asks nothing of the thread that applies.
    pub fn raft_info(&self) -> RaftInfo {
        let server = self.inner().raft.server_metrics().borrow_watched().clone();
        let data = self.inner().raft.data_metrics().borrow_watched().clone();
        let durable = self.inner().progress.durable.borrow().clone();
        let snapshot = durable.position;
        let contact = if server.state == ServerState::Leader {
            Some(Duration::ZERO)
        } else {
            self.inner().leader_heard.since()
        };
        RaftInfo {
            id: self.id(),
            address: self.inner().config.address.clone(),
            role: self.role(server.state),
            voter: self.counts(self.id()),
            leader: self.heard_leader(),
            term: server.vote.leader_id().term,
            last_log: data.last_log.as_ref().map_or((0, 0), term_and_index),
            committed: data
                .cluster_committed
                .as_ref()
                .map_or(0, openraft::LogId::index),
            applied: self.applied_index(),
            snapshot: snapshot.map_or((0, 0), |position| (position.term, position.index)),
            members: self.members(),
            last_contact_ms: contact.map(|contact| contact.as_millis() as u64),
        }
    }

    /// The leader and its address, if this node leads or has heard from it lately. Raft itself goes on to
    /// name one that died until another is elected.
    pub fn heard_leader(&self) -> Option<(NodeId, String)> {
        let leadership = self.leadership();
        let leadership = leadership.borrow();
        let lately = || {
            let since = self.inner().leader_heard.since();
            since.is_some_and(|since| since < 2 * self.inner().config.timing.election_max)
        };
        let leader = leadership.leader.as_ref();
        leader.filter(|_| leadership.here || lately()).cloned()
    }

    /// The replicated clock.
    pub fn clock_info(&self) -> ClockInfo {
        let view = self.views().latest();
        ClockInfo {
            founded: view.founded(),
            last: view.time(),
            wall: (self.inner().clock)(),
        }
    }

    fn role(&self, state: ServerState) -> Role {
        match state {
            ServerState::Leader => Role::Leader,
            ServerState::Candidate => Role::Candidate,
            ServerState::Follower if self.counts(self.id()) => Role::Follower,
            ServerState::Follower | ServerState::Learner => Role::Learner,
            ServerState::Shutdown => Role::Unknown,
        }
    }

    /// Whether the cluster may rely on a node as a voter. While a change of the membership is
    /// under way, which takes a majority of the old and one of the new members, that is who is in
    /// both.
    pub(crate) fn counts(&self, id: NodeId) -> bool {
        self.voters().contains(&id)
    }

    /// The nodes of which [`Self::counts`] is true.
    pub(crate) fn voters(&self) -> BTreeSet<NodeId> {
        let stored = self.applied_membership();
        let configs = stored.membership().get_joint_config().iter().cloned();
        configs
            .reduce(|both, voters| &both & &voters)
            .unwrap_or_default()
    }
}

fn unreachable_status(id: NodeId, node: &Node) -> NodeStatus {
    NodeStatus {
        id,
        address: node.address.clone(),
        version: String::new(),
        role: Role::Unknown,
        leader: false,
        term: 0,
        first_log: 0,
        last_log: 0,
        applied: 0,
        checkpoint: 0,
        digest: String::new(),
        engine: None,
        honours: Vec::new(),
        data_bytes: 0,
        health: Health::Unreachable,
        reachable: false,
        plugins: Vec::new(),
    }
}
