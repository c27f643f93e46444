//! One watch as its caller sees it: items in order, whatever happens to connections and nodes.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use hostd_protocol::codec::{FRAME_BYTES_MAX, decode, encode_frame};
use hostd_protocol::{
    CallError, Failure, FailureCode, Request, Response, Revision, Start, Watch, WatchItem,
};
use hostd_quic::{Ended, FrameChunks};
use quinn::{RecvStream, SendStream};
use tokio::time::{Instant, sleep, timeout};

use super::line::Line;
use crate::client::Client;
use crate::failure;
use crate::node::Node;

/// How long a node may take to begin a watch.
const BEGIN_WITHIN: Duration = Duration::from_secs(5);

/// First pause after a round in which no node did; doubled up to the last one.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_LAST: Duration = Duration::from_secs(1);

/// A watch, from [`Client::watch`].
///
/// It goes on where it was when a connection breaks or a node stops, on that node or another: every
/// change comes once, in order, and none is left out. [`WatchItem::Begin`] comes once; with
/// [`Start::Present`] again, and then the present state too, when the watch broke before
/// [`WatchItem::Synced`].
#[derive(Debug)]
pub struct Watcher {
    client: Client,
    watch: Watch,
    /// Where to go on, once it is known.
    resume: Option<Revision>,
    live: Option<Live>,
    /// The node that was used last is not the first to be asked when it failed.
    failed: Option<Arc<Node>>,
    began: bool,
}

/// A stream that is open.
#[derive(Debug)]
struct Live {
    frames: FrameChunks,
    recv: RecvStream,
    _send: SendStream,
    line: Arc<Line>,
    node: Arc<Node>,
    /// What the node said first.
    first: Option<WatchItem>,
}

/// Why a node does not do.
enum Trouble {
    /// It must be said to the caller, whichever node is asked.
    Final(CallError),
    /// It may be better elsewhere, or later.
    Passing(CallError),
}

impl Watcher {
    pub(crate) fn new(client: Client, watch: Watch) -> Self {
        Self {
            client,
            watch,
            resume: None,
            live: None,
            failed: None,
            began: false,
        }
    }

    /// Where this watch would go on: every change before was returned by [`next`](Self::next). `None`
    /// before the watch has begun, or before all of the present state has come.
    pub fn resume_from(&self) -> Option<Revision> {
        self.resume
    }

    /// The address of the node that tells the changes at present.
    pub fn node(&self) -> Option<&str> {
        self.live.as_ref().map(|live| live.node.address())
    }

    /// What comes next. Waits for as long as it takes, but for the first item no longer than a call
    /// may take. Dropping the future loses nothing.
    ///
    /// # Errors
    /// `compacted` when no node that answers knows all changes since: read the present state with a new
    /// watch. Other errors are of the request itself, such as `permission_denied`.
    pub async fn next(&mut self) -> Result<WatchItem, CallError> {
        loop {
            if self.live.is_none() {
                self.live = Some(self.connect().await?);
            }
            let live = self.live.as_mut().expect("it was just connected");
            match live.next().await {
                Ok(item) => {
                    if let Some(item) = self.take(item) {
                        return Ok(item);
                    }
                }
                Err(trouble) => {
                    let live = self.live.take();
                    self.failed = live.map(|live| live.node);
                    if let Trouble::Final(error) = trouble {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// The items as a stream, which ends after the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<WatchItem, CallError>> + Send {
        futures_util::stream::unfold(Some(self), |watcher| async move {
            let mut watcher = watcher?;
            match watcher.next().await {
                Ok(item) => Some((Ok(item), Some(watcher))),
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    /// Notes how far an item brings this watch. `None` for one that the caller need not see.
    fn take(&mut self, item: WatchItem) -> Option<WatchItem> {
        match &item {
            WatchItem::Begin(revision) => {
                let again = self.resume.is_some();
                if self.watch.start != Start::Present {
                    self.resume.get_or_insert(*revision);
                }
                self.began = true;
                return (!again).then_some(item);
            }
            WatchItem::Present(_) => {}
            WatchItem::Synced(revision) | WatchItem::Progress(revision) => {
                self.resume = Some(*revision);
            }
            WatchItem::Changed(changed) => self.resume = Some(changed.revision.next()),
        }
        Some(item)
    }

    async fn connect(&mut self) -> Result<Live, CallError> {
        let begun = Instant::now();
        let mut pause = PAUSE_FIRST;
        let mut asked_for_members = false;
        loop {
            let trouble = match self.round().await {
                Ok(live) => return Ok(live),
                Err(Trouble::Final(error)) if error.code() == "compacted" && !asked_for_members => {
                    // There may be members that this client has not heard of, and that know more.
                    asked_for_members = true;
                    match self.client.members().await {
                        Ok(_) => continue,
                        Err(_) => return Err(error),
                    }
                }
                Err(Trouble::Final(error)) => return Err(error),
                Err(Trouble::Passing(error)) => error,
            };
            let patience = self.client.timeout();
            if !self.began && begun.elapsed() + pause >= patience {
                return Err(trouble);
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_LAST);
        }
    }

    /// Asks every node once, until one does.
    async fn round(&mut self) -> Result<Live, Trouble> {
        let cluster = self.client.cluster();
        let mut nodes = cluster.in_turn();
        if let Some(failed) = self.failed.take() {
            nodes.sort_by_key(|node| Arc::ptr_eq(node, &failed));
        }
        let mut last = None;
        let mut compacted = None;
        let mut others = false;
        for node in nodes {
            match self.begin(&node).await {
                Ok(live) => return Ok(live),
                Err(Trouble::Passing(error)) => {
                    others |= !matches!(error.code(), "no_leader");
                    last = Some(error);
                }
                Err(Trouble::Final(error)) if error.code() == "compacted" => {
                    // Another node may know more.
                    compacted = Some(error);
                }
                Err(trouble) => return Err(trouble),
            }
        }
        match (compacted, last) {
            // One that cannot be reached may be gone for good; one that is busy is not.
            (Some(error), _) if !others => Err(Trouble::Final(error)),
            (_, Some(error)) => Err(Trouble::Passing(error)),
            (Some(error), None) => Err(Trouble::Final(error)),
            (None, None) => Err(Trouble::Passing(failure::unreachable(
                &cluster.addresses(),
                self.client.timeout(),
            ))),
        }
    }

    async fn begin(&self, node: &Arc<Node>) -> Result<Live, Trouble> {
        let cluster = self.client.cluster();
        let unreachable = |ended: &Ended| match ended {
            Ended::Credentials(why) => Trouble::Final(failure::credentials(node.address(), why)),
            ended => Trouble::Passing(no_watch(node, ended.message())),
        };
        let line = self.client.lines().take(&cluster.dialer, node.address());
        let line = line.await.map_err(|ended| unreachable(&ended))?;
        let mut watch = self.watch.clone();
        if let Some(resume) = self.resume {
            watch.start = Start::From(resume);
        }
        let mut bytes = Vec::new();
        encode_frame(&(0u64, Request::Watch(watch)), &mut bytes);
        let open = async {
            let lost = |error: &dyn std::fmt::Display| {
                Trouble::Passing(no_watch(node, &error.to_string()))
            };
            let (mut send, recv) = line.0.open_bi().await.map_err(|error| lost(&error))?;
            let sent = send.write_all(&bytes).await;
            sent.map_err(|error| lost(&error))?;
            let mut live = Live {
                frames: FrameChunks::new(FRAME_BYTES_MAX),
                recv,
                _send: send,
                line: Arc::clone(&line),
                node: Arc::clone(node),
                first: None,
            };
            live.first = Some(live.next().await?);
            Ok(live)
        };
        timeout(BEGIN_WITHIN, pin!(open)).await.unwrap_or_else(|_| {
            Err(Trouble::Passing(no_watch(
                node,
                "it did not answer in time",
            )))
        })
    }
}

impl Live {
    async fn next(&mut self) -> Result<WatchItem, Trouble> {
        if let Some(item) = self.first.take() {
            return Ok(item);
        }
        let frame = match self.frames.next(&mut self.recv).await {
            Ok(frame) => frame,
            Err(error) => {
                let closed = self.line.0.close_reason();
                let why = closed.map_or(error.to_string(), |error| error.to_string());
                return Err(Trouble::Passing(no_watch(&self.node, &why)));
            }
        };
        match decode::<(u64, Result<Response, CallError>)>(&frame) {
            Ok((_, Ok(Response::Watched(item)))) => Ok(item),
            Ok((_, Ok(_))) | Err(_) => Err(Trouble::Final(failure::unexpected())),
            Ok((_, Err(error))) if error.is_retryable() => Err(Trouble::Passing(error)),
            Ok((_, Err(error))) => Err(Trouble::Final(error)),
        }
    }
}

fn no_watch(node: &Node, why: &str) -> CallError {
    let message = format!("{} cannot be watched: {why}", node.address());
    Failure::new(FailureCode::NoLeader, message).into()
}
