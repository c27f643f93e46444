//! A client's watch: the replica's, for as long as the policy lets the client have it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use hostd_gateway::Caller;
use hostd_machine::Views;
use hostd_protocol::{CallError, Policy, Start, Watch, WatchItem};
use hostd_replica::Replica;
use tokio::time::Instant;

use crate::access::permit_watch;

/// How long a node may take to learn what was acknowledged before a watch begins.
const CATCH_UP: Duration = Duration::from_secs(3);

/// A watch that goes on.
pub(crate) struct Watching {
    inner: hostd_replica::Watching,
    views: Views,
    identity: Arc<str>,
    watch: Watch,
    /// The policy that was asked last.
    policy: Arc<Policy>,
    over: bool,
}

impl Watching {
    /// Begins a watch on this node.
    ///
    /// One that begins with the present begins with all that was acknowledged before; one that begins
    /// with a revision waits for it if this node has not applied it yet.
    pub(crate) async fn begin(
        replica: &Replica,
        caller: &Caller,
        mut watch: Watch,
    ) -> Result<Self, CallError> {
        let caught_up = !matches!(watch.start, Start::From(_));
        if caught_up {
            replica.read_barrier(Instant::now() + CATCH_UP).await?;
        }
        if let Some(plugin) = &mut watch.plugin {
            plugin.make_ascii_lowercase();
        }
        let views = replica.views();
        let permitted = || {
            let policy = Arc::clone(views.latest().policy());
            permit_watch(&policy, &caller.identity, &watch).map(|()| policy)
        };
        let policy = match permitted() {
            // The rule that allows it may be newer than what this node has applied.
            Err(_) if !caught_up => {
                replica.read_barrier(Instant::now() + CATCH_UP).await?;
                permitted()?
            }
            asked => asked?,
        };
        tracing::debug!(principal = &*caller.identity, from = %caller.from, "a watch begins");
        Ok(Self {
            inner: replica.watch(watch.clone())?,
            views,
            identity: Arc::clone(&caller.identity),
            watch,
            policy,
            over: false,
        })
    }

    /// Asks the policy again when it has changed. A change wakes every watch.
    fn permit(&mut self) -> Result<(), CallError> {
        let view = self.views.latest();
        if !Arc::ptr_eq(view.policy(), &self.policy) {
            self.policy = Arc::clone(view.policy());
            permit_watch(&self.policy, &self.identity, &self.watch)?;
        }
        Ok(())
    }
}

impl Stream for Watching {
    type Item = Result<WatchItem, CallError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        let item = match self.inner.poll_next_unpin(context) {
            Poll::Ready(Some(Err(failure))) => Some(Err(failure.into())),
            // Asked after there is an item: a policy that was changed before it was told counts.
            Poll::Ready(Some(Ok(item))) => Some(self.permit().map(|()| item)),
            Poll::Ready(None) => None,
            Poll::Pending => match self.permit() {
                Ok(()) => return Poll::Pending,
                Err(refused) => Some(Err(refused)),
            },
        };
        self.over = !matches!(item, Some(Ok(_)));
        Poll::Ready(item)
    }
}
