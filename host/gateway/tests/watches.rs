//! Watches: streams of their own beside those for requests.
#![allow(missing_docs)]

mod support;

use std::time::Duration;

use hostd_gateway::Limits;
use hostd_protocol::{CallError, FailureCode, Request, Response, Revision, Watch, WatchItem};
use hostd_quic::Close;
use quinn::ReadError;
use support::{RawClient, World, call};

fn watch(plugin: &str) -> Request {
    Request::Watch(Watch::keys("").of(plugin))
}

async fn watching(client: &RawClient, plugin: &str) -> RawClient {
    let mut watcher = RawClient::open(client.connection.clone()).await;
    watcher.ask(&[(7, watch(plugin))]).await;
    watcher
}

fn code(answer: &Result<Response, CallError>) -> &str {
    answer.as_ref().expect_err("an error").code()
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_and_requests_share_a_connection() {
    let world = World::new(Limits::default()).await;
    let mut client = world.client().await;
    client.ask(&[(1, call("echo", b"a"))]).await;
    let _silent = watching(&client, "silent").await;
    let mut flooded = watching(&client, "flood").await;
    for index in 1..=50 {
        let (id, item) = flooded.answer().await.unwrap();
        let Ok(Response::Watched(WatchItem::Changed(changed))) = item else {
            panic!("{item:?}");
        };
        assert_eq!((id, changed.revision), (7, Revision::start_of(index)));
    }
    client.ask(&[(2, call("echo", b"b"))]).await;
    assert_eq!(client.answers(2).await[1].0, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_is_refused_says_so_and_ends_alone() {
    let world = World::new(Limits::default()).await;
    let mut client = world.client().await;
    let mut watcher = watching(&client, "refused").await;
    let (id, refused) = watcher.answer().await.unwrap();
    assert_eq!((id, code(&refused)), (7, "unsupported"));
    assert!(watcher.answer().await.is_none());
    client.ask(&[(1, call("echo", b"a"))]).await;
    assert!(client.answer().await.unwrap().1.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_that_takes_nothing_is_cut_and_nobody_else() {
    let limits = Limits {
        stall_timeout: Duration::from_millis(300),
        ..Limits::default()
    };
    let world = World::new(limits).await;
    let mut client = world.client().await;
    let mut slow = watching(&client, "flood").await;
    let silent = watching(&client, "silent").await;
    support::eventually(|| world.gateway.load().watches() == 1).await;
    let mut bytes = vec![0; 1 << 20];
    let cut = loop {
        match slow.recv.read(&mut bytes).await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(
        matches!(&cut, ReadError::Reset(code) if *code == Close::Stalled.code()),
        "{cut:?}"
    );
    client.ask(&[(1, call("echo", b"a"))]).await;
    assert!(client.answer().await.unwrap().1.is_ok());
    drop(silent);
    support::eventually(|| world.gateway.load().watches() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_are_bounded() {
    let limits = Limits {
        watches_per_connection_max: 2,
        watches_max: 3,
        ..Limits::default()
    };
    let world = World::new(limits).await;
    let client = world.client().await;
    let _held = [
        watching(&client, "silent").await,
        watching(&client, "silent").await,
    ];
    support::eventually(|| world.gateway.load().watches() == 2).await;
    let overloaded = FailureCode::Overloaded.as_str();
    let (_, refused) = watching(&client, "flood").await.answer().await.unwrap();
    assert_eq!(code(&refused), overloaded);
    let other = world.client().await;
    let _third = watching(&other, "silent").await;
    support::eventually(|| world.gateway.load().watches() == 3).await;
    let (_, refused) = watching(&other, "flood").await.answer().await.unwrap();
    assert_eq!(code(&refused), overloaded);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_for_requests_are_few() {
    let world = World::new(Limits::default()).await;
    let first = world.client().await;
    let mut streams = Vec::new();
    for number in 0..4 {
        let mut stream = RawClient::open(first.connection.clone()).await;
        stream.ask(&[(number, call("echo", b"a"))]).await;
        assert!(stream.answer().await.unwrap().1.is_ok());
        streams.push(stream);
    }
    let mut over = RawClient::open(first.connection.clone()).await;
    over.ask(&[(9, call("echo", b"a"))]).await;
    assert!(over.answer().await.is_none());
    let closed = first.connection.closed().await;
    assert!(
        closed.to_string().contains("streams for requests"),
        "{closed}"
    );
}
