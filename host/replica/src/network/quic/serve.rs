//! The answering side: what a peer says on the connections that it made.

use std::{
    future::Future,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_util::{
    FutureExt, Stream, StreamExt,
    stream::{FuturesOrdered, FuturesUnordered},
};
use hostd_protocol::{NodeId, codec, codec::FRAME_BYTES_MAX};
use hostd_quic::{Close, FrameReader, FrameWriter, Next};
use openraft::raft::AppendEntriesRequest;
use quinn::{Connection, RecvStream, SendStream};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    QuicTransport,
    link::{read_one, write_one},
    priority,
};
use crate::{
    network::{
        Answer, Ask, ControlAsk, Hello, Opening, PeerService, Question, Rebuff, SnapshotHead,
        SnapshotPart, SnapshotTell,
    },
    types::{GROUP, TypeConfig},
};

/// How long a peer may take to say who it is, and this node to be ready for it.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);
/// Questions of one stream that are worked on at the same time; more wait in the stream.
const IN_FLIGHT_MAX: usize = 4096;

/// Bytes of answers that may wait for a peer that does not read them.
const OUTBOX_BYTES_MAX: usize = 64 << 20;

/// Serves a connection until it ends.
pub(super) async fn connection(transport: QuicTransport, node: NodeId, connection: Connection) {
    let greeted = tokio::time::timeout(GREETING_TIMEOUT, greet(&transport, node, &connection));
    let (service, hello, control) = match greeted.await {
        Ok(Ok(greeted)) => greeted,
        Ok(Err(reason)) => {
            tracing::warn!(node, from = %connection.remote_address(), reason, "a peer was refused");
            // It reads the reason from the stream; closing at once could overtake it.
            drop(tokio::time::timeout(GREETING_TIMEOUT, connection.closed()).await);
            return Close::Refused.close(&connection, &reason);
        }
        Err(_) => return Close::Refused.close(&connection, "no greeting came in time"),
    };
    if service.is_itself(&hello) {
        transport.heard_of(hello.node, hello.boot).await;
    }
    tracing::debug!(node, from = %connection.remote_address(), "a peer has connected");
    tokio::spawn(control_stream(service.clone(), control));
    let mut stopping = transport.0.service.subscribe();
    loop {
        let stream = tokio::select! {
            stream = connection.accept_bi() => stream,
            _ = stopping.wait_for(Option::is_none) => {
                return Close::ShuttingDown.close(&connection, "the node stops");
            }
        };
        // The connection has ended, and with it all its streams.
        let Ok((send, recv)) = stream else { return };
        tokio::spawn(stream_of(service.clone(), connection.clone(), send, recv));
    }
}

struct Halves {
    send: SendStream,
    recv: RecvStream,
    reader: FrameReader,
}

async fn greet(
    transport: &QuicTransport,
    node: NodeId,
    connection: &Connection,
) -> Result<(PeerService, Hello, Halves), String> {
    let mut ready = transport.0.service.subscribe();
    let service = ready.wait_for(Option::is_some).await;
    let service = service
        .ok()
        .and_then(|service| service.clone())
        .ok_or("the node is stopping")?;
    let (mut send, mut recv) = connection
        .accept_bi()
        .await
        .map_err(|error| error.to_string())?;
    let mut reader = FrameReader::new(FRAME_BYTES_MAX);
    let opening: Opening = read_one(&mut recv, &mut reader).await?;
    let Opening::Control(hello) = opening else {
        return Err("it did not say who it is".into());
    };
    let greeting = service
        .admit(&hello, Some(node))
        .and_then(|()| service.hello().map_err(Rebuff::for_now));
    write_one(&mut send, &greeting)
        .await
        .map_err(|error| error.to_string())?;
    greeting.map_err(|rebuff| rebuff.reason)?;
    drop(send.set_priority(priority::CONTROL));
    Ok((service, hello, Halves { send, recv, reader }))
}

async fn control_stream(service: PeerService, halves: Halves) {
    let ended = answer_all(halves, FuturesUnordered::new(), |question| {
        let service = service.clone();
        async move {
            let Question { id, body, .. }: Question<ControlAsk> = question;
            Answer {
                id,
                body: service.control(body).await,
            }
        }
    });
    log_end("control", ended.await);
}

async fn stream_of(
    service: PeerService,
    connection: Connection,
    send: SendStream,
    mut recv: RecvStream,
) {
    let mut reader = FrameReader::new(FRAME_BYTES_MAX);
    let opening: Opening = match read_one(&mut recv, &mut reader).await {
        Ok(opening) => opening,
        Err(reason) => return log_end("new", Err(reason)),
    };
    let halves = Halves { send, recv, reader };
    match opening {
        Opening::Control(_) => {
            Close::Malformed.close(&connection, "a second greeting");
        }
        Opening::Append => {
            drop(halves.send.set_priority(priority::APPEND));
            let ended = answer_all(halves, FuturesOrdered::new(), |question| {
                let service = service.clone();
                async move {
                    let Question { id, body, .. }: Question<AppendEntriesRequest<TypeConfig>> =
                        question;
                    Answer {
                        id,
                        body: service.append(body).await,
                    }
                }
            });
            log_end("append", ended.await);
        }
        Opening::Forward => {
            drop(halves.send.set_priority(priority::FORWARD));
            let ended = answer_all(halves, FuturesUnordered::new(), |question| {
                let service = service.clone();
                async move {
                    let Question { id, body, .. }: Question<Ask> = question;
                    Answer {
                        id,
                        body: Ok(service.ask(body).await),
                    }
                }
            });
            log_end("forward", ended.await);
        }
        Opening::Snapshot => log_end("snapshot", receive_snapshot(&service, halves).await),
    }
}

fn log_end(class: &str, ended: Result<(), String>) {
    if let Err(reason) = ended {
        tracing::debug!(class, reason, "a peer's stream has ended");
    }
}

/// Futures under way, whose results come in some order.
trait UnderWay<F>: Stream + Unpin {
    fn add(&mut self, future: F);
    fn started(&self) -> usize;
}

impl<F: Future> UnderWay<F> for FuturesUnordered<F> {
    fn add(&mut self, future: F) {
        self.push(future);
    }

    fn started(&self) -> usize {
        self.len()
    }
}

impl<F: Future> UnderWay<F> for FuturesOrdered<F> {
    fn add(&mut self, future: F) {
        self.push_back(future);
    }

    fn started(&self) -> usize {
        self.len()
    }
}

/// Answers the questions of a stream until it ends. Questions are begun in the order in which
/// they came; the order of the answers is that of `under_way`. Whatever is ready goes out in one
/// write.
async fn answer_all<Q, A, F, U>(
    halves: Halves,
    mut under_way: U,
    answer: impl Fn(Question<Q>) -> F,
) -> Result<(), String>
where
    Q: DeserializeOwned,
    A: Serialize,
    F: Future<Output = Answer<A>>,
    U: UnderWay<F> + Stream<Item = Answer<A>>,
{
    let Halves {
        mut send,
        mut recv,
        mut reader,
    } = halves;
    let mut writer = FrameWriter::new();
    loop {
        let room = |writer: &FrameWriter, started| {
            started < IN_FLIGHT_MAX && writer.pending_bytes() < OUTBOX_BYTES_MAX
        };
        while room(&writer, under_way.started()) {
            match reader.next() {
                Next::Frame(payload) => {
                    let question: Question<Q> =
                        codec::decode(payload).map_err(|error| error.to_string())?;
                    known_group(question.group)?;
                    under_way.add(answer(question));
                }
                Next::Oversized { length, .. } => {
                    return Err(format!("a question of {length} bytes"));
                }
                Next::Partial => break,
            }
        }
        tokio::select! {
            // New questions are begun before anything is waited for.
            biased;
            Some(answer) = under_way.next(), if under_way.started() > 0 => {
                writer.push(&answer);
                while let Some(Some(answer)) = under_way.next().now_or_never() {
                    writer.push(&answer);
                }
                let context = &mut Context::from_waker(Waker::noop());
                if let Poll::Ready(Err(error)) = writer.poll_write(context, &mut send) {
                    return Err(error.to_string());
                }
            }
            written = std::future::poll_fn(|context| writer.poll_write(context, &mut send)),
                if writer.pending_bytes() > 0 =>
            {
                written.map_err(|error| error.to_string())?;
            }
            filled = std::future::poll_fn(|context| reader.poll_fill(context, &mut recv)),
                if room(&writer, under_way.started()) =>
            {
                if filled.map_err(|error| error.to_string())? == 0 {
                    return Ok(());
                }
            }
        }
    }
}

fn known_group(group: u64) -> Result<(), String> {
    if group == GROUP {
        Ok(())
    } else {
        Err(format!("this node has no group {group}"))
    }
}

async fn receive_snapshot(service: &PeerService, halves: Halves) -> Result<(), String> {
    let Halves {
        mut send,
        mut recv,
        mut reader,
    } = halves;
    let installed = take_snapshot(service, &mut recv, &mut reader).await;
    if let Err(reason) = &installed {
        tracing::warn!(reason, "a snapshot was not installed");
    }
    write_one(&mut send, &installed)
        .await
        .map_err(|error| error.to_string())?;
    // It may have been finished by the other side's end.
    drop(send.finish());
    drop(send.stopped().await);
    Ok(())
}

async fn take_snapshot(
    service: &PeerService,
    recv: &mut RecvStream,
    reader: &mut FrameReader,
) -> SnapshotTell {
    let head: SnapshotHead = read_one(recv, reader).await?;
    known_group(head.group)?;
    let mut receiver = service
        .receive_snapshot(head)
        .map_err(|error| error.to_string())?;
    loop {
        match read_one(recv, reader).await? {
            SnapshotPart::Chunk(chunk) => {
                receiver.chunk(&chunk).map_err(|error| error.to_string())?;
            }
            SnapshotPart::End => return receiver.finish().await,
        }
    }
}
