//! Calls while nodes die, answers are lost and leaders change.

mod support;

use std::collections::HashSet;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hostd_client::{CallOptions, Client, FailureCode, MemberChange};
use support::{FakeNode, WITHIN, World, eventually, integer};

const NONE: [&str; 0] = [];

#[tokio::test]
async fn a_retry_after_a_lost_reply_takes_effect_once() {
    let world = World::new(2).await;
    let client = world.client(&[1, 2]).await;
    client.prepare().await.unwrap();
    for round in 1..=3 {
        world
            .node(1)
            .proxy
            .lose_answers
            .store(true, Ordering::Relaxed);
        // Node 1 executes it, its answer is lost, node 2 is asked and recognises it.
        assert_eq!(integer(client.call("ticket", NONE).await.unwrap()), round);
        world
            .node(1)
            .proxy
            .lose_answers
            .store(false, Ordering::Relaxed);
        assert_eq!(world.cluster.state().tickets, round.cast_unsigned());
        // Back at node 1 for the next round.
        eventually_at(&client, 1).await;
    }
    assert_eq!(world.cluster.state().repeated, 3);
}

async fn eventually_at(client: &Client, id: i64) {
    // The director goes back to the leader when the client is unsettled or some time has passed;
    // members() lets it know the leader.
    let deadline = tokio::time::Instant::now() + WITHIN;
    while integer(client.call("node", NONE).await.unwrap()) != id {
        assert!(tokio::time::Instant::now() < deadline, "not at node {id}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_client_given_only_followers_survives_the_leader() {
    let world = World::new(3).await;
    let client = world.client(&[2, 3]).await;
    eventually_at(&client, 1).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut workers = Vec::new();
    for _ in 0..16 {
        let (client, stop) = (client.clone(), stop.clone());
        workers.push(tokio::spawn(async move {
            let mut tickets = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                tickets.push(integer(client.call("ticket", NONE).await.unwrap()));
            }
            tickets
        }));
    }
    eventually(|| world.cluster.state().tickets > 200).await;
    // The leader dies. Followers pass calls on to it until they elect another.
    world.node(1).proxy.set_dead(true);
    for id in [2, 3] {
        world.node(id).seen.stuck.store(true, Ordering::Relaxed);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    world.cluster.state().leader = 0;
    for id in [2, 3] {
        world.node(id).seen.stuck.store(false, Ordering::Relaxed);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    world.cluster.state().leader = 3;
    let before = world.cluster.state().tickets;
    eventually(|| world.cluster.state().tickets > before + 200).await;
    stop.store(true, Ordering::Relaxed);
    let mut all = HashSet::new();
    for worker in workers {
        let tickets = worker.await.unwrap();
        assert!(tickets.is_sorted());
        for ticket in tickets {
            assert!(all.insert(ticket), "ticket {ticket} was given twice");
        }
    }
    // None was taken without being given to somebody.
    assert_eq!(all.len() as u64, world.cluster.state().tickets);
    eventually_at(&client, 3).await;
}

#[tokio::test]
async fn a_silent_node_is_passed_over_though_its_connection_lives() {
    let world = World::new(3).await;
    let patience = Duration::from_secs(2);
    let builder = world.builder(&[1]).patience(patience);
    let client = builder.connect().await.unwrap();
    client.prepare().await.unwrap();
    client.members().await.unwrap();
    world.node(1).seen.mute.store(true, Ordering::Relaxed);
    // The first call costs the client's patience. If each did, or most, the test would not end.
    let calls = async {
        for _ in 0..200 {
            client.call("ticket", NONE).await.unwrap();
        }
    };
    tokio::time::timeout(WITHIN, calls).await.unwrap();
    assert_eq!(world.node(1).connections(), 1);
    assert_eq!(world.cluster.state().tickets, 200);
}

#[tokio::test]
async fn other_nodes_are_found_when_the_only_known_one_is_stuck() {
    let world = World::new(3).await;
    world.node(2).seen.stuck.store(true, Ordering::Relaxed);
    // Shorter than what passes before the client looks at the members of its own accord.
    let builder = world.builder(&[2]).timeout(Duration::from_secs(25));
    let client = builder.one_shot().connect().await.unwrap();
    assert_eq!(integer(client.call("ticket", NONE).await.unwrap()), 1);
}

#[tokio::test]
async fn a_name_with_several_addresses_is_reached_at_the_one_that_answers() {
    let world = World::new(1).await;
    let port = world.node(1).proxy.address().port();
    let client = Client::builder()
        .credentials(world.credentials())
        .servers([format!("localhost:{port}")])
        .connect()
        .await
        .unwrap();
    assert_eq!(integer(client.call("ticket", NONE).await.unwrap()), 1);
    client.close().await;
}

#[tokio::test]
async fn a_node_that_restarts_is_found_again() {
    let world = World::new(1).await;
    let any = "127.0.0.1:0".parse().unwrap();
    // Straight, without a proxy, which would keep the way to the node that is gone.
    let node = FakeNode::start(&world.pki, &world.cluster, 1, any).await;
    let address = node.address;
    world.cluster.state().members = vec![(1, address.to_string())];
    let client = Client::builder()
        .credentials(world.credentials())
        .servers([address.to_string()])
        .connect()
        .await
        .unwrap();
    assert_eq!(integer(client.call("ticket", NONE).await.unwrap()), 1);
    node.endpoint.close(0u32.into(), b"");
    node.endpoint.wait_idle().await;
    drop(node);
    let call = tokio::spawn({
        let client = client.clone();
        async move { integer(client.call("ticket", NONE).await.unwrap()) }
    });
    let _node = restart(&world, address).await;
    assert_eq!(call.await.unwrap(), 2);
}

/// Binding succeeds once the port of the earlier endpoint is free.
async fn restart(world: &World, address: std::net::SocketAddr) -> FakeNode {
    eventually(|| UdpSocket::bind(address).is_ok()).await;
    FakeNode::start(&world.pki, &world.cluster, 1, address).await
}

#[tokio::test]
async fn calls_wait_for_an_election() {
    let world = World::new(3).await;
    let client = world.client(&[1, 2, 3]).await;
    client.prepare().await.unwrap();
    world.cluster.state().leader = 0;
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.call("ticket", NONE).await }
    });
    eventually(|| world.seen("ticket") > 3).await;
    world.cluster.state().leader = 2;
    assert_eq!(integer(call.await.unwrap().unwrap()), 1);
}

#[tokio::test]
async fn an_overloaded_node_is_asked_again() {
    let world = World::new(1).await;
    let client = world.client(&[1]).await;
    client.prepare().await.unwrap();
    let failure = &world.node(1).seen.failure;
    *failure.lock().unwrap() = Some(FailureCode::Overloaded);
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.call("ticket", NONE).await }
    });
    eventually(|| world.seen("ticket") > 2).await;
    *failure.lock().unwrap() = None;
    assert_eq!(integer(call.await.unwrap().unwrap()), 1);
}

#[tokio::test]
async fn after_the_deadline_the_error_tells_what_is_known() {
    let world = World::new(1).await;
    let client = world.client(&[1]).await;
    client.prepare().await.unwrap();
    let options = CallOptions {
        timeout: Some(Duration::from_secs(2)),
        ..CallOptions::default()
    };
    let fail = async |command: &str| {
        let failed = client.call_with(command, ["x"], &options).await;
        failed.unwrap_err()
    };

    // Nothing began.
    world.cluster.state().leader = 0;
    let error = fail("ticket").await;
    assert_eq!((error.code(), error.exit_code()), ("no_leader", 7));
    world.cluster.state().leader = 1;

    // It may have begun, and the cluster says why it is not decided.
    let failure = &world.node(1).seen.failure;
    *failure.lock().unwrap() = Some(FailureCode::NoQuorum);
    let error = fail("ticket").await;
    assert_eq!((error.code(), error.exit_code()), ("no_quorum", 7));
    *failure.lock().unwrap() = None;

    // No answer at all.
    let error = fail("hold").await;
    assert_eq!((error.code(), error.exit_code()), ("timeout", 7));
    assert!(error.message().contains("unknown"), "{}", error.message());
    world.node(1).proxy.set_dead(true);
    let error = fail("echo").await;
    assert_eq!(error.code(), "timeout");
    assert!(!error.message().contains("unknown"), "{}", error.message());
}

#[tokio::test]
async fn servers_that_are_not_there_are_named() {
    let world = World::new(1).await;
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap();
    let nobody = nobody.local_addr().unwrap().to_string();
    let builder = Client::builder()
        .credentials(world.credentials())
        .timeout(Duration::from_millis(300));
    let error = builder
        .servers([nobody.clone(), "nowhere.invalid:1".to_owned()])
        .connect()
        .await
        .unwrap_err();
    assert_eq!((error.code(), error.exit_code()), ("no_leader", 7));
    for part in [nobody.as_str(), "nowhere.invalid:1", "-s"] {
        assert!(error.message().contains(part), "{}", error.message());
    }
}

#[tokio::test]
async fn an_expired_session_is_replaced_where_nothing_can_have_happened() {
    let world = World::new(2).await;
    let client = world.client(&[1]).await;
    assert_eq!(integer(client.call("ticket", NONE).await.unwrap()), 1);
    world.cluster.forget_sessions();
    // Sent once and refused: sent again in a new session.
    assert_eq!(integer(client.call("ticket", NONE).await.unwrap()), 2);
    assert_eq!(world.seen("OpenSession"), 2);

    // Sent, its answer lost, the session forgotten: whether it happened cannot be told.
    client.members().await.unwrap();
    let node = world.node(1);
    node.proxy.lose_answers.store(true, Ordering::Relaxed);
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.call("ticket", NONE).await }
    });
    eventually(|| world.cluster.state().tickets == 3).await;
    world.cluster.forget_sessions();
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(error.code(), "session_expired");
    assert_eq!(world.cluster.state().tickets, 3);
    // The next call has a new session.
    assert_eq!(integer(client.call("ticket", NONE).await.unwrap()), 4);
}

#[tokio::test]
async fn a_change_of_members_is_not_sent_twice() {
    let world = World::new(2).await;
    let patience = Duration::from_millis(20);
    let builder = world.builder(&[1]).patience(patience);
    let client = builder.connect().await.unwrap();
    client.members().await.unwrap();
    let node = world.node(1);
    node.proxy.lose_answers.store(true, Ordering::Relaxed);
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.change_member(MemberChange::Remove(9)).await }
    });
    eventually(|| world.cluster.state().changes.len() == 1).await;
    // A read would be asked again by now.
    tokio::time::sleep(patience * 10).await;
    assert_eq!(world.seen("Member"), 1);
    node.endpoint.close(0u32.into(), b"");
    node.proxy.lose_answers.store(false, Ordering::Relaxed);
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(error.code(), "timeout");
    assert!(error.message().contains("unknown"), "{}", error.message());
    assert_eq!(world.cluster.state().changes.len(), 1);

    // While nothing can have begun, it is.
    world.cluster.state().leader = 0;
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.change_member(MemberChange::Promote(2)).await }
    });
    eventually(|| world.seen("Member") > 3).await;
    world.cluster.state().leader = 2;
    call.await.unwrap().unwrap();
    assert_eq!(world.cluster.state().changes.len(), 2);
}

#[tokio::test]
async fn dropping_a_call_forgets_it_and_nothing_else() {
    let world = World::new(1).await;
    let client = world.client(&[1]).await;
    client.prepare().await.unwrap();
    for _ in 0..100 {
        let call = client.call("hold", NONE);
        assert!(
            tokio::time::timeout(Duration::from_millis(1), call)
                .await
                .is_err()
        );
    }
    assert_eq!(
        client.call("echo", ["x"]).await.unwrap(),
        hostd_client::Reply::Bytes(b"x".to_vec())
    );
    world.cluster.release();
    assert!(client.call("ticket", NONE).await.is_ok());
}
