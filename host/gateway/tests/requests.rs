//! Requests and answers on a client's stream, and the limits on them.

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use hostd_gateway::Limits;
use hostd_protocol::codec::encode_frame;
use hostd_protocol::{CallError, Reply, Response};
use hostd_quic::Close;
use quinn::ConnectionError;
use support::{World, call, eventually};

fn code(answer: &Result<Response, CallError>) -> &str {
    answer.as_ref().unwrap_err().code()
}

fn close_code(error: &ConnectionError) -> (Close, String) {
    match error {
        ConnectionError::ApplicationClosed(close) => (
            Close::from_code(close.error_code).unwrap(),
            String::from_utf8(close.reason.to_vec()).unwrap(),
        ),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn many_requests_in_flight_are_answered_in_any_order() {
    let world = World::new(Limits::default()).await;
    let mut client = world.client().await;
    let mut requests = vec![(0, call("hold", b""))];
    for id in 1..=1_000u64 {
        requests.push((id, call("echo", id.to_string().as_bytes())));
    }
    client.ask(&requests).await;
    let mut answers = client.answers(1_000).await;
    answers.sort_by_key(|(id, _)| *id);
    for (position, (id, answer)) in answers.into_iter().enumerate() {
        assert_eq!(id, position as u64 + 1);
        let expected = Reply::Bytes(id.to_string().into_bytes());
        assert_eq!(answer, Ok(Response::Reply(expected)));
    }
    world.service.release();
    assert_eq!(client.answer().await.unwrap(), (0, Ok(Response::Done)));
    eventually(|| world.gateway.load().requests() == 0).await;
}

#[tokio::test]
async fn the_principal_is_the_certificates_common_name() {
    let world = World::new(Limits::default()).await;
    let mut client = world.client().await;
    client.ask(&[(1, call("who", b""))]).await;
    let (_, answer) = client.answer().await.unwrap();
    assert_eq!(answer, Ok(Response::Reply(Reply::Text("admin".into()))));
}

#[tokio::test]
async fn a_hundred_mebibytes_are_too_large_and_the_connection_goes_on() {
    let world = World::new(Limits::default()).await;
    // Encoded before there is a connection, whose thread this one is: a debug build takes seconds
    // for it, in which the connection would hear nothing.
    let mut bytes = Vec::new();
    encode_frame(&(41u64, call("echo", &vec![0; 100 << 20])), &mut bytes);
    encode_frame(&(42u64, call("echo", b"still here")), &mut bytes);
    let mut client = world.client().await;
    client.send.write_all(&bytes).await.unwrap();
    let answers = client.answers(2).await;
    assert_eq!(answers[0].0, 41);
    assert_eq!(code(&answers[0].1), "too_large");
    let expected = Reply::Bytes(b"still here".to_vec());
    assert_eq!(answers[1], (42, Ok(Response::Reply(expected))));
    assert_eq!(world.service.handled.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_frame_beyond_skipping_closes_the_connection() {
    let world = World::new(Limits {
        skip_bytes_max: 1 << 20,
        ..Limits::default()
    })
    .await;
    let mut client = world.client().await;
    let mut bytes = (40u32 << 20).to_le_bytes().to_vec();
    bytes.extend([0; 100]);
    client.send.write_all(&bytes).await.unwrap();
    let (close, reason) = close_code(&client.connection.closed().await);
    assert_eq!(close, Close::TooLarge);
    assert!(reason.contains("41943040"), "{reason}");
}

#[tokio::test]
async fn requests_over_the_limit_of_a_connection_are_overloaded() {
    let world = World::new(Limits {
        in_flight_per_connection_max: 10,
        ..Limits::default()
    })
    .await;
    let mut client = world.client().await;
    let requests: Vec<_> = (0..15).map(|id| (id, call("hold", b""))).collect();
    client.ask(&requests).await;
    for (_, answer) in client.answers(5).await {
        assert_eq!(code(&answer), "overloaded");
    }
    // Another connection has its own share.
    let mut other = world.client().await;
    other.ask(&[(1, call("echo", b"x"))]).await;
    assert!(other.answer().await.unwrap().1.is_ok());

    world.service.release();
    for (_, answer) in client.answers(10).await {
        assert_eq!(answer, Ok(Response::Done));
    }
    client.ask(&[(99, call("echo", b"again"))]).await;
    assert!(client.answer().await.unwrap().1.is_ok());
}

#[tokio::test]
async fn requests_over_the_limit_of_the_node_are_overloaded() {
    let world = World::new(Limits {
        in_flight_max: 4,
        ..Limits::default()
    })
    .await;
    let mut first = world.client().await;
    let requests: Vec<_> = (0..4).map(|id| (id, call("hold", b""))).collect();
    first.ask(&requests).await;
    eventually(|| world.gateway.load().requests() == 4).await;
    let mut second = world.client().await;
    second.ask(&[(1, call("echo", b"x"))]).await;
    assert_eq!(code(&second.answer().await.unwrap().1), "overloaded");
}

#[tokio::test]
async fn requests_of_a_client_that_left_are_dropped() {
    let world = World::new(Limits::default()).await;
    let mut client = world.client().await;
    client.ask(&[(1, call("hold", b""))]).await;
    eventually(|| world.gateway.load().requests() == 1).await;
    Close::Done.close(&client.connection, "");
    eventually(|| world.gateway.load().requests() == 0).await;
    eventually(|| world.gateway.load().connections() == 0).await;
}

#[tokio::test]
async fn bytes_that_are_no_request_close_the_connection_with_a_reason() {
    for bytes in [
        // A frame of four bytes that are no message.
        [4, 0, 0, 0, 0xff, 0xff, 0xff, 0xff].as_slice(),
        // A message with a byte too many: id 1, `Members`, one more.
        &[3, 0, 0, 0, 1, 5, 0],
        // An empty frame.
        &[0, 0, 0, 0],
    ] {
        let world = World::new(Limits::default()).await;
        let mut client = world.client().await;
        client.send.write_all(bytes).await.unwrap();
        let (close, reason) = close_code(&client.connection.closed().await);
        assert_eq!(close, Close::Malformed, "{bytes:?}");
        assert!(reason.contains("malformed"), "{reason}");
    }
}

#[tokio::test]
async fn a_stream_that_ends_inside_a_frame_closes_the_connection() {
    let world = World::new(Limits::default()).await;
    let mut client = world.client().await;
    client.send.write_all(&[9, 0, 0, 0, 1]).await.unwrap();
    client.send.finish().unwrap();
    let (close, _) = close_code(&client.connection.closed().await);
    assert_eq!(close, Close::Malformed);
}

#[tokio::test]
async fn a_finished_stream_gets_its_answers_and_another_can_be_opened() {
    let world = World::new(Limits::default()).await;
    let mut client = world.client().await;
    for round in 0..20 {
        client.ask(&[(round, call("echo", b"x"))]).await;
        client.send.finish().unwrap();
        assert_eq!(client.answers(1).await[0].0, round);
        assert_eq!(client.answer().await, None);
        client = support::RawClient::open(client.connection).await;
    }
}

#[tokio::test]
async fn a_reader_that_is_slow_stops_being_served_and_gets_everything_in_the_end() {
    let world = World::new(Limits::default()).await;
    let mut client = world.client().await;
    // 2 000 answers of 100 kB; what is on the way to a reader that does not read is bounded by
    // the backlog and the windows of the connection.
    let requests: Vec<_> = (0..2_000).map(|id| (id, call("big", b"100000"))).collect();
    client.ask(&requests).await;
    let windows = (16 << 20) / 100_000;
    let mut handled = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = world.service.handled.load(Ordering::Relaxed);
        if now > 0 && now == handled {
            break;
        }
        handled = now;
    }
    assert!(handled < windows, "{handled} answers for nobody");
    assert_eq!(client.answers(2_000).await.len(), 2_000);
}

#[tokio::test]
async fn refusals_for_nobody_are_bounded_too() {
    let world = World::new(Limits {
        in_flight_per_connection_max: 1,
        ..Limits::default()
    })
    .await;
    let count = 200_000u64;
    let argument = [0; 200];
    let mut bytes = Vec::new();
    for id in 0..count {
        encode_frame(&(id, call("hold", &argument)), &mut bytes);
    }
    let mut client = world.client().await;
    let connection = client.connection.clone();
    let (mut send, _) = client.connection.open_bi().await.unwrap();
    std::mem::swap(&mut send, &mut client.send);
    let asking = tokio::spawn(async move {
        send.write_all(&bytes).await.unwrap();
        send
    });
    // Until nothing moves any more: the node reads no further while its refusals are not read.
    let mut sent = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now = connection.stats().udp_tx.bytes;
        if now < sent + 10_000 {
            break;
        }
        sent = now;
    }
    assert!(!asking.is_finished());
    for (_, answer) in client.answers(count as usize - 1).await {
        assert_eq!(code(&answer), "overloaded");
    }
    world.service.release();
    assert_eq!(client.answer().await.unwrap().1, Ok(Response::Done));
    world.service.release();
    drop(asking.await.unwrap());
}

#[tokio::test]
async fn a_reader_that_stalls_is_disconnected() {
    let world = World::new(Limits {
        stall_timeout: Duration::from_millis(300),
        ..Limits::default()
    })
    .await;
    let mut client = world.client().await;
    let requests: Vec<_> = (0..1_000).map(|id| (id, call("big", b"100000"))).collect();
    client.ask(&requests).await;
    let (close, _) = close_code(&client.connection.closed().await);
    assert_eq!(close, Close::Stalled);
}

#[tokio::test]
async fn a_panic_of_the_service_ends_one_connection_only() {
    let world = World::new(Limits::default()).await;
    let mut unlucky = world.client().await;
    let mut other = world.client().await;
    other.ask(&[(1, call("hold", b""))]).await;
    unlucky.ask(&[(1, call("panic", b""))]).await;
    unlucky.connection.closed().await;
    world.service.release();
    assert_eq!(other.answer().await.unwrap(), (1, Ok(Response::Done)));
}
