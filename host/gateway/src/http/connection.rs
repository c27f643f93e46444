//! One connection: HTTP/1.1 or HTTP/2, which its first bytes decide.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};
use tracing::debug;

use super::backlog::Backlog;
use super::router;
use crate::gateway::Shared;
use crate::tcp::{Guest, Io};
use crate::{Limits, Service};

/// Header fields of one request.
const HEADERS_MAX: usize = 100;

/// Bytes of all header fields of one request over HTTP/2, where each counts 32 more than it has. Over
/// HTTP/1.1 `line_bytes_max` bounds them, with the request line.
const HEADER_LIST_BYTES_MAX: u32 = 32 << 10;

/// Requests that one HTTP/2 connection may have under way.
const STREAMS_MAX: u32 = 32;

/// Bytes of an answer that a stream may have waiting for a slow reader. It comes on
/// top of what [`Backlog`] counts.
const STREAM_BACKLOG_BYTES: usize = 16 << 10;

/// Bytes of bodies that may come before they are asked for: of one stream, and of a connection.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;

/// Where a connection's requests go. Cloning is cheap.
#[derive(Clone)]
pub(crate) struct Door(TowerToHyperService<Router>);

/// The connection of a request, as the request knows it.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub(super) guest: Guest,
    /// Its unanswered requests.
    pub(super) in_flight: Arc<AtomicUsize>,
    pub(super) backlog: Arc<Backlog>,
}

impl Door {
    pub(crate) fn new<S: Service>(shared: &Arc<Shared<S>>) -> Self {
        Self(TowerToHyperService::new(router::router(shared.clone())))
    }

    /// Serves a connection until it ends, or the node stops and all is answered.
    pub(crate) async fn serve<S: Service>(
        self,
        stream: impl Io,
        guest: Guest,
        shared: &Arc<Shared<S>>,
    ) {
        let from = guest.from;
        let connection = Connection {
            guest,
            in_flight: Arc::default(),
            backlog: Arc::new(Backlog::new()),
        };
        let backlog = connection.backlog.clone();
        let mut stalled = pin!(backlog.stalled(shared.limits.stall_timeout));
        let stream = TokioIo::new(Paced::new(stream, &shared.limits, &connection.in_flight));
        let requests = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(connection.clone());
            hyper::service::Service::call(&self.0, request)
        });
        let builder = builder(&shared.limits);
        let mut served = pin!(builder.serve_connection(stream, requests));
        let mut stop = shared.stop.clone();
        let ended = tokio::select! {
            ended = served.as_mut() => Some(ended),
            () = stalled.as_mut() => return debug!(%from, "HTTP connection closed: answers were not read"),
            _ = stop.wait_for(|stop| *stop) => None,
        };
        let ended = if let Some(ended) = ended {
            ended
        } else {
            served.as_mut().graceful_shutdown();
            tokio::select! {
                ended = served => ended,
                () = stalled => return,
            }
        };
        if let Err(error) = ended {
            debug!(%from, %error, "HTTP connection ended");
        }
    }
}

fn builder(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_headers(HEADERS_MAX)
        .max_buf_size(limits.line_bytes_max.max(8 << 10));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .max_send_buf_size(STREAM_BACKLOG_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        // Half of the time of a whole idle connection: who is gone without a word is found out.
        .keep_alive_interval(limits.idle_timeout / 2)
        .keep_alive_timeout(limits.stall_timeout);
    builder
}

/// A stream that fails when the other end takes nothing for too long, or says nothing although it was
/// answered.
struct Paced<T> {
    stream: T,
    in_flight: Arc<AtomicUsize>,
    stall_timeout: Duration,
    idle_timeout: Duration,
    /// Runs while bytes wait that the other end does not take.
    stall: Option<Pin<Box<Sleep>>>,
    idle: Pin<Box<Sleep>>,
}

impl<T> Paced<T> {
    fn new(stream: T, limits: &Limits, in_flight: &Arc<AtomicUsize>) -> Self {
        Self {
            stream,
            in_flight: in_flight.clone(),
            stall_timeout: limits.stall_timeout,
            idle_timeout: limits.idle_timeout,
            stall: None,
            idle: Box::pin(sleep(limits.idle_timeout)),
        }
    }

    /// Counts how long the other end has taken nothing.
    fn paced<R>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if written.is_ready() {
            self.stall = None;
            return written;
        }
        let limit = self.stall_timeout;
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(stall.as_mut().poll(context));
        Poll::Ready(Err(late("the answer was not read")))
    }
}

fn late(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, reason)
}

impl<T: AsyncRead + Unpin> AsyncRead for Paced<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, into);
        let next = Instant::now() + self.idle_timeout;
        if read.is_ready() {
            self.idle.as_mut().reset(next);
            return read;
        }
        while self.idle.as_mut().poll(context).is_ready() {
            if self.in_flight.load(Ordering::Relaxed) == 0 {
                return Poll::Ready(Err(late("nothing was asked")));
            }
            self.idle.as_mut().reset(next);
        }
        Poll::Pending
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Paced<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.paced(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.paced(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.paced(context, shut)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.paced(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
