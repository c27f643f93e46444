//! A node whose state is not what the log says: told apart from the others, and kept from harm.

mod support;

use std::path::Path;

use hostd_machine::{Input, Machine, Position};
use hostd_protocol::{Batch, Command, Entry, FailureCode, Health, MemberChange, NodeId};
use hostd_replica::{Replica, open_database};
use support::{cluster::Cluster, directory_of, engine, equal_states, soon, ticket, until};

/// Three nodes, of which node 3 has another state than the log says: as if its machine had
/// counted differently.
async fn with_wrong_node_3() -> (Cluster, [Replica; 3]) {
    let cluster = Cluster::new();
    let [first, second, third] = cluster.three().await;
    equal_states(&[&first, &second, &third]).await;
    let status = first.status(false).await.remove(0);
    third.shutdown().await;
    drop(third);

    ticket(&first).await.unwrap();
    equal_states(&[&first, &second]).await;
    assert_eq!(
        first.status(false).await[0].checkpoint,
        status.checkpoint + 2,
        "something else was logged"
    );
    count_twice(&directory_of(cluster.root.path(), 3), status.term);
    let third = cluster.start(3).await;
    (cluster, [first, second, third])
}

/// Continues a stopped node's state with two commands where the cluster's log has one.
fn count_twice(directory: &Path, term: u64) {
    let state = open_database(&directory.join("state.redb"), true, 1 << 20).unwrap();
    let mut machine = Machine::open(engine(), state).unwrap();
    let next = machine.position().unwrap().index + 1;
    let open = Command::OpenSession {
        principal: "nobody".into(),
    };
    let batch = Entry::Batch(Batch {
        time: 0,
        seed: [0; 16],
        commands: vec![open.clone(), open],
    });
    let checkpoint = Entry::Checkpoint {
        time: 0,
        previous: None,
    };
    for (index, entry) in (next..).zip([batch, checkpoint]) {
        let position = Position { term, index };
        let applied = machine.apply(position, Input::Entry(entry)).unwrap();
        if let Some(flush) = applied.flush {
            machine.flushed(flush.run().unwrap());
        }
    }
}

async fn lead(replica: &Replica, id: NodeId) {
    until(&format!("node {id} leads"), async || {
        let leader = replica.leadership().borrow().leader.clone();
        if leader.is_some_and(|(leader, _)| leader == id) {
            return true;
        }
        // It may have been refused, or an election may have come in between.
        let change = MemberChange::Transfer(Some(id));
        drop(replica.change_membership(change, soon()).await);
        false
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_in_the_minority_serves_no_reads_and_never_leads() {
    let (cluster, [first, second, third]) = with_wrong_node_3().await;
    lead(&second, 2).await;
    first.checkpoint(soon()).await.unwrap();
    until("node 3 is quarantined", async || third.quarantined()).await;
    assert!(!first.quarantined() && !second.quarantined());
    let refused = third.read_barrier(soon()).await.unwrap_err();
    assert_eq!(refused.code, FailureCode::Fault);
    assert!(refused.message.contains("--recover"), "{refused}");
    assert_eq!(third.status(false).await[0].health, Health::Quarantined);

    // It knows that after a restart, too.
    third.shutdown().await;
    drop(third);
    let third = cluster.start(3).await;
    assert!(third.quarantined());
    drop(
        first
            .change_membership(
                MemberChange::Transfer(Some(3)),
                tokio::time::Instant::now() + std::time::Duration::from_secs(2),
            )
            .await,
    );
    until("somebody leads", async || {
        ticket(&first).await.is_ok() && first.leadership().borrow().leader.is_some()
    })
    .await;
    assert!(!third.leadership().borrow().here);
    first.read_barrier(soon()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_in_the_minority_steps_down_and_the_majority_serves() {
    let (_cluster, [first, second, third]) = with_wrong_node_3().await;
    lead(&first, 3).await;
    // Whatever becomes of this one: the leader finds out.
    drop(third.checkpoint(soon()).await);
    until("node 3 is quarantined", async || third.quarantined()).await;
    until("another node leads", async || {
        let leader = first.leadership().borrow().leader.clone();
        leader.is_some_and(|(leader, _)| leader != 3)
    })
    .await;
    assert!(!first.quarantined() && !second.quarantined());
    ticket(&second).await.unwrap();
    first.read_barrier(soon()).await.unwrap();
    assert!(third.read_barrier(soon()).await.is_err());
}
