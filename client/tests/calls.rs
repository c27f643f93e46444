//! Calls while everything is well, and the answers to calls that are wrong.

mod support;

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hostd_client::{CallOptions, Consistency, Credentials, MemberChange, Reply};
use hostd_pki::Authority;
use support::{WITHIN, World, eventually, integer};
use tempfile::TempDir;

const NONE: [&str; 0] = [];

#[tokio::test]
async fn many_calls_share_one_connection_and_each_gets_its_own_answer() {
    let world = World::new(1).await;
    let client = world.client(&[1]).await;
    let mut calls = Vec::new();
    for number in 0..2_000u32 {
        let client = client.clone();
        calls.push(tokio::spawn(async move {
            let argument = number.to_string();
            let reply = client.call("echo", [&argument]).await.unwrap();
            assert_eq!(reply, Reply::Bytes(argument.into_bytes()));
        }));
    }
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(world.node(1).connections(), 1);
    assert_eq!(world.seen("Commands"), 1);
}

#[tokio::test]
async fn writes_share_one_session_that_reads_do_not_need() {
    let world = World::new(1).await;
    let client = world.client(&[1]).await;
    for _ in 0..10 {
        client.call("echo", ["x"]).await.unwrap();
    }
    assert_eq!(world.seen("OpenSession"), 0);
    let mut calls = Vec::new();
    for _ in 0..5_000 {
        let client = client.clone();
        calls.push(tokio::spawn(async move {
            integer(client.call("ticket", NONE).await.unwrap())
        }));
    }
    let mut tickets = HashSet::new();
    for call in calls {
        assert!(tickets.insert(call.await.unwrap()));
    }
    assert_eq!(world.seen("OpenSession"), 1);
    assert_eq!(world.cluster.open_sessions(), 1);
    client.close().await;
    assert_eq!(world.cluster.open_sessions(), 0);
    eventually(|| world.node(1).connections() == 0).await;
}

#[tokio::test]
async fn a_program_with_one_call_asks_for_nothing_else() {
    let world = World::new(3).await;
    let client = world.builder(&[2]).one_shot().connect().await.unwrap();
    assert_eq!(integer(client.call("ticket", NONE).await.unwrap()), 1);
    assert_eq!(*world.node(2).seen.requests.lock().unwrap(), ["ticket"]);
    assert_eq!(world.node(1).connections() + world.node(3).connections(), 0);
}

#[tokio::test]
async fn the_same_idempotency_key_takes_effect_once() {
    let world = World::new(1).await;
    let options = CallOptions {
        key: Some("order-77".into()),
        ..CallOptions::default()
    };
    for _ in 0..3 {
        let client = world.client(&[1]).await;
        let reply = client.call_with("ticket", NONE, &options).await.unwrap();
        assert_eq!(integer(reply), 1);
    }
    assert_eq!(world.cluster.state().tickets, 1);
    assert_eq!(world.seen("OpenSession"), 0);
}

#[tokio::test]
async fn rejections_come_through_and_are_not_repeated() {
    let world = World::new(1).await;
    let client = world.client(&[1]).await;
    let refused = client.call("refuse", NONE).await.unwrap_err();
    assert_eq!((refused.code(), refused.exit_code()), ("rejected", 4));
    assert_eq!(refused.message(), "not today");
    let unknown = client.call("nonsense", NONE).await.unwrap_err();
    assert_eq!(
        (unknown.code(), unknown.exit_code()),
        ("unknown_command", 3)
    );
    assert_eq!(world.seen("refuse"), 1);
}

#[tokio::test]
async fn what_is_too_large_says_so_and_harms_nothing() {
    let world = World::new(1).await;
    let client = world.client(&[1]).await;
    // Beyond what a frame can hold, and beyond what the node takes.
    for bytes in [100 << 20, 20 << 20] {
        let error = client.call("echo", [vec![b'x'; bytes]]).await.unwrap_err();
        assert_eq!((error.code(), error.exit_code()), ("too_large", 3));
    }
    let large = vec![b'x'; 10 << 20];
    let reply = client.call("echo", [&large]).await.unwrap();
    assert_eq!(reply, Reply::Bytes(large));
    assert_eq!(world.node(1).connections(), 1);
}

#[tokio::test]
async fn the_client_goes_to_the_leader_and_follows_it() {
    let world = World::new(3).await;
    world.cluster.state().leader = 3;
    let client = world.client(&[2]).await;
    let at = |id: i64| {
        let client = client.clone();
        async move {
            while integer(client.call("node", NONE).await.unwrap()) != id {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    tokio::time::timeout(WITHIN, at(3)).await.unwrap();
    // The leader resigns: it says so when it is asked.
    *world.node(3).seen.failure.lock().unwrap() = Some(hostd_client::FailureCode::NoLeader);
    world.cluster.state().leader = 1;
    client.call("ticket", NONE).await.unwrap();
    tokio::time::timeout(WITHIN, at(1)).await.unwrap();
}

#[tokio::test]
async fn stale_reads_take_turns() {
    let world = World::new(3).await;
    let client = world.client(&[1]).await;
    let options = CallOptions {
        consistency: Consistency::Stale,
        ..CallOptions::default()
    };
    let mut nodes = HashSet::new();
    while nodes.len() < 3 {
        let reply = client.call_with("node", NONE, &options).await.unwrap();
        nodes.insert(integer(reply));
    }
    for id in 1..=3 {
        assert!(world.node(id).seen.calls.load(Ordering::Relaxed) > 0);
    }
    // Linearizable reads stay at the leader.
    assert_eq!(integer(client.call("node", NONE).await.unwrap()), 1);
}

#[tokio::test]
async fn members_status_and_changes() {
    let world = World::new(3).await;
    let client = world.client(&[1]).await;
    let members = client.members().await.unwrap();
    assert_eq!(members.len(), 3);
    assert!(members[0].leader && !members[1].leader);
    let status = client.status().await.unwrap();
    assert_eq!(status[2].plugins[0].name, "test");
    client
        .change_member(MemberChange::Transfer(Some(2)))
        .await
        .unwrap();
    assert_eq!(world.cluster.state().changes, ["Transfer(Some(2))"]);
    assert_eq!(client.commands().await.unwrap()[0].commands.len(), 5);
}

#[tokio::test]
async fn strangers_are_told_so_at_once() {
    let world = World::new(1).await;
    let elsewhere = TempDir::new().unwrap();
    Authority::init(elsewhere.path()).unwrap();
    let path = |file: &str| elsewhere.path().join(file);
    // Neither believes the other; and only the server does not believe the client.
    let foreign = Credentials::from_dir_client(elsewhere.path(), "admin").unwrap();
    let intruder = Credentials::load(
        &world.pki.path().join("ca.pem"),
        &path("admin.pem"),
        &path("admin-key.pem"),
    )
    .unwrap();
    for credentials in [foreign, intruder] {
        let attempt = async {
            let client = hostd_client::Client::builder()
                .credentials(credentials)
                .servers([world.node(1).proxy.address().to_string()])
                .timeout(WITHIN * 10)
                .connect()
                .await?;
            client.call("ticket", NONE).await
        };
        let error = tokio::time::timeout(WITHIN, attempt)
            .await
            .expect("no waiting for the deadline")
            .unwrap_err();
        assert_eq!((error.code(), error.exit_code()), ("unauthenticated", 5));
        assert!(error.message().contains("--pki"), "{}", error.message());
    }
    assert_eq!(world.cluster.state().tickets, 0);
}
