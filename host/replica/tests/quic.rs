//! Three replicas over QUIC on loopback, with mutual TLS.

mod support;

use std::{path::PathBuf, sync::Arc, time::Duration};

use hostd_protocol::{Command, FailureCode, NodeId};
use hostd_replica::{FormError, Formation, Replica};
use support::{
    config, directory_of, equal_states, open,
    quic::{Wire, wire, wire_at},
    soon, ticket, until, until_voters,
};

struct Cluster {
    root: tempfile::TempDir,
}

struct Running {
    replica: Replica,
    wire: Wire,
}

impl Cluster {
    fn new() -> Self {
        Self {
            root: tempfile::tempdir().unwrap(),
        }
    }

    fn pki(&self) -> PathBuf {
        self.root.path().join("pki")
    }

    async fn start(&self, id: NodeId) -> Running {
        self.start_on(id, wire(&self.pki(), id)).await
    }

    async fn start_on(&self, id: NodeId, wire: Wire) -> Running {
        let directory = directory_of(self.root.path(), id);
        let mut settings = config(id, &wire.address, &directory);
        settings.checkpoint.bytes = 4 << 20;
        let replica = open(settings, &directory, Arc::new(wire.transport.clone()))
            .await
            .unwrap();
        Running { replica, wire }
    }

    async fn three(&self) -> [Running; 3] {
        let first = self.start(1).await;
        first.replica.form(Formation::Alone).await.unwrap();
        let second = self.start(2).await;
        let third = self.start(3).await;
        for running in [&second, &third] {
            running.replica.form(join(&first)).await.unwrap();
        }
        for running in [&first, &second, &third] {
            until_voters(&running.replica, 3).await;
        }
        [first, second, third]
    }
}

fn join(member: &Running) -> Formation {
    Formation::Join {
        through: vec![member.wire.address.clone()],
        learner: false,
    }
}

/// What is left of a process that was killed: nothing that could say goodbye. Its port is free
/// again.
async fn kill(running: Running) -> String {
    let Running { replica, wire } = running;
    let address = wire.address.clone();
    // Its socket goes elsewhere, so that the goodbyes are not heard.
    let elsewhere = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    wire.endpoint.rebind(elsewhere).unwrap();
    wire.endpoint.close(0u32.into(), b"");
    replica.shutdown().await;
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_and_reads_go_through_any_node() {
    let cluster = Cluster::new();
    let [a, b, c] = cluster.three().await;
    let nodes = [&a.replica, &b.replica, &c.replica];
    let mut last = 0;
    for round in 0..60 {
        let number = ticket(nodes[round % 3]).await.unwrap();
        assert!(number > last);
        last = number;
        nodes[(round + 1) % 3].read_barrier(soon()).await.unwrap();
    }
    let mut calls = tokio::task::JoinSet::new();
    for call in 0..900 {
        let replica = nodes[call % 3].clone();
        calls.spawn(async move { ticket(&replica).await.unwrap() });
    }
    let mut numbers: Vec<i64> = calls.join_all().await;
    numbers.sort_unstable();
    assert_eq!(numbers, (last + 1..=last + 900).collect::<Vec<_>>());
    equal_states(&nodes).await;
    let statuses = b.replica.status(true).await;
    assert!(statuses.iter().all(|status| status.reachable));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_is_found_again_at_once() {
    let cluster = Cluster::new();
    let [a, b, c] = cluster.three().await;
    for _ in 0..10 {
        ticket(&a.replica).await.unwrap();
    }
    let leader_is_a = a.replica.leadership().borrow().here;
    assert!(leader_is_a);
    let address = kill(a).await;
    let number = retried(&b.replica).await;
    let a = cluster
        .start_on(1, wire_at(&cluster.pki(), 1, &address))
        .await;
    until("the returned node has caught up", async || {
        a.replica.applied_index() >= b.replica.applied_index()
    })
    .await;
    assert!(retried(&a.replica).await > number);
    let b_address = kill(b).await;
    retried(&c.replica).await;
    let b = cluster
        .start_on(2, wire_at(&cluster.pki(), 2, &b_address))
        .await;
    retried(&b.replica).await;
    equal_states(&[&a.replica, &b.replica, &c.replica]).await;
}

/// A ticket, taken anew as long as the outcome is unknown: the leader may have died with it.
async fn retried(replica: &Replica) -> i64 {
    loop {
        match ticket(replica).await {
            Ok(number) => return number,
            Err(failure) => assert_eq!(failure.code, FailureCode::Timeout, "{failure}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_may_come_back_at_another_address() {
    let cluster = Cluster::new();
    let [a, b, c] = cluster.three().await;
    ticket(&a.replica).await.unwrap();
    let before = kill(c).await;
    let c = cluster.start(3).await;
    assert_ne!(c.wire.address, before);
    until("the members know the new address", async || {
        let members = b.replica.members();
        members
            .iter()
            .any(|member| member.address == c.wire.address)
    })
    .await;
    ticket(&c.replica).await.unwrap();
    equal_states(&[&a.replica, &b.replica, &c.replica]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_node_gets_a_large_state() {
    let cluster = Cluster::new();
    let first = cluster.start(1).await;
    first.replica.form(Formation::Alone).await.unwrap();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..20_000 {
        let replica = first.replica.clone();
        calls.spawn(async move { ticket(&replica).await.unwrap() });
    }
    calls.join_all().await;
    let filler = Command::Call {
        principal: "test".into(),
        plugin: None,
        command: "no-such-command".into(),
        arguments: vec![vec![7u8; 4 << 20].into()],
        once: None,
    };
    for _ in 0..8 {
        let refused = first.replica.write(filler.clone(), soon()).await.unwrap();
        refused.unwrap_err();
    }
    first.replica.checkpoint(soon()).await.unwrap();
    until("the log before the checkpoint is gone", async || {
        first.replica.log_begins_at() > 5
    })
    .await;
    let second = cluster.start(2).await;
    second.replica.form(join(&first)).await.unwrap();
    until_voters(&second.replica, 2).await;
    assert!(second.replica.log_begins_at() > 5);
    equal_states(&[&first.replica, &second.replica]).await;
    assert!(ticket(&second.replica).await.unwrap() > 20_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_told_why_they_are_refused() {
    let cluster = Cluster::new();
    let [a, _b, _c] = cluster.three().await;

    // A member of another cluster, of the same authority.
    let other = cluster.start(7).await;
    other.replica.form(Formation::Alone).await.unwrap();
    ticket(&other.replica).await.unwrap();
    let asked = a.replica.change_membership(
        hostd_protocol::MemberChange::Add {
            node: 7,
            address: other.wire.address.clone(),
            learner: false,
        },
        tokio::time::Instant::now() + Duration::from_secs(2),
    );
    let refused = asked.await.unwrap_err();
    assert!(refused.message.contains("cluster"), "{refused}");

    // A number that is in use.
    let wire = wire(&cluster.pki(), 3);
    let empty = tempfile::tempdir().unwrap();
    let settings = config(3, &wire.address, empty.path());
    let impostor = open(settings, empty.path(), Arc::new(wire.transport.clone()))
        .await
        .unwrap();
    match impostor.form(join(&a)).await {
        Err(FormError::Refused(reason)) => assert!(reason.contains('3'), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert!(!impostor.is_initialized());
    ticket(&a.replica).await.unwrap();
}
