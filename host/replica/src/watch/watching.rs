//! One watch, from its beginning.

use std::future::Future;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use hostd_machine::{PresentCursor, View, Views};
use hostd_protocol::{Failure, FailureCode, Revision, Start, Subject, Watch, WatchItem};
use tokio::time::{Instant, Sleep, sleep_until};

use super::hub::{Cursor, Hub};

/// Bytes of present keys that are told together.
const PRESENT_BYTES: usize = 256 << 10;

/// The shortest time between two marks of progress.
const PROGRESS_MIN: Duration = Duration::from_secs(1);

/// The present state is told within this time: it is held on disk for so long.
const PRESENT_WITHIN: Duration = Duration::from_mins(10);

/// A watch. A stream of what a watcher is told; it ends with an error.
#[derive(Debug)]
pub struct Watching {
    cursor: Cursor,
    phase: Phase,
    progress: Option<Progress>,
    /// What was told last of how far all is told.
    told: Revision,
}

enum Phase {
    Begin(Option<Present>),
    Present(Present),
    Changes,
    Over,
}

struct Present {
    view: Arc<View>,
    plugin: Option<String>,
    prefix: Vec<u8>,
    cursor: PresentCursor,
    until: Instant,
}

#[derive(Debug)]
struct Progress {
    every: Duration,
    timer: Pin<Box<Sleep>>,
}

impl std::fmt::Debug for Phase {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Phase::Begin(_) => "Begin",
            Phase::Present(_) => "Present",
            Phase::Changes => "Changes",
            Phase::Over => "Over",
        })
    }
}

impl Watching {
    /// Begins a watch of what is applied here.
    ///
    /// # Errors
    /// `compacted` when it would begin too far back; `invalid_argument` when there is no such plugin.
    pub(crate) fn begin(hub: &Arc<Hub>, views: &Views, mut watch: Watch) -> Result<Self, Failure> {
        let view = views.latest();
        if let Some(plugin) = &mut watch.plugin {
            let Some(known) = view.watched_plugin(plugin) else {
                return Err(Failure::new(
                    FailureCode::InvalidArgument,
                    format!("no plugin is named '{plugin}'; see `hostctl plugin list`"),
                ));
            };
            known.as_ref().clone_into(plugin);
        }
        let progress = (watch.progress_ms > 0)
            .then(|| PROGRESS_MIN.max(Duration::from_millis(u64::from(watch.progress_ms))));
        let (start, present) = match (watch.start, &watch.subject) {
            (Start::From(revision), _) => (Some(revision), None),
            (Start::Present, Subject::Keys(prefix)) => {
                let applied = view.position();
                let next = applied.map_or(0, |position| position.index + 1);
                let present = Present {
                    view,
                    plugin: watch.plugin.clone(),
                    prefix: prefix.to_vec(),
                    cursor: PresentCursor::default(),
                    until: Instant::now() + PRESENT_WITHIN,
                };
                (Some(Revision::start_of(next)), Some(present))
            }
            (Start::Now | Start::Present, _) => (None, None),
        };
        let cursor = hub.watch(watch, start)?;
        Ok(Self {
            progress: progress.map(|every| Progress::new(every, cursor.number())),
            told: cursor.start(),
            phase: Phase::Begin(present),
            cursor,
        })
    }

    /// What comes next. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<WatchItem, Failure> {
        poll_fn(|context| self.poll_item(context)).await
    }

    fn poll_item(&mut self, context: &mut Context<'_>) -> Poll<Result<WatchItem, Failure>> {
        let start = self.cursor.start();
        match &mut self.phase {
            Phase::Begin(present) => {
                self.phase = present.take().map_or(Phase::Changes, Phase::Present);
                Poll::Ready(Ok(WatchItem::Begin(start)))
            }
            Phase::Present(present) => match present.next() {
                Ok(Some(item)) => Poll::Ready(Ok(item)),
                Ok(None) => {
                    self.phase = Phase::Changes;
                    Poll::Ready(Ok(WatchItem::Synced(start)))
                }
                Err(failure) => Poll::Ready(Err(failure)),
            },
            Phase::Changes | Phase::Over => self.poll_change(context),
        }
    }

    fn poll_change(&mut self, context: &mut Context<'_>) -> Poll<Result<WatchItem, Failure>> {
        if let Poll::Ready(told) = self.cursor.poll_next(context) {
            return Poll::Ready(told.map(|changed| {
                self.told = changed.revision.next();
                WatchItem::Changed(changed)
            }));
        }
        let Some(progress) = &mut self.progress else {
            return Poll::Pending;
        };
        while progress.poll_due(context).is_ready() {
            let until = self.cursor.told_until();
            if let Some(until) = until.filter(|until| *until > self.told) {
                self.told = until;
                return Poll::Ready(Ok(WatchItem::Progress(until)));
            }
        }
        Poll::Pending
    }
}

impl Stream for Watching {
    type Item = Result<WatchItem, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if matches!(self.phase, Phase::Over) {
            return Poll::Ready(None);
        }
        self.poll_item(context).map(|item| {
            if item.is_err() {
                self.phase = Phase::Over;
            }
            Some(item)
        })
    }
}

impl Present {
    fn next(&mut self) -> Result<Option<WatchItem>, Failure> {
        if Instant::now() > self.until {
            return Err(Failure::new(
                FailureCode::Overloaded,
                format!(
                    "the present state was not taken within {} s; begin again",
                    PRESENT_WITHIN.as_secs()
                ),
            ));
        }
        if self.cursor == PresentCursor::END {
            return Ok(None);
        }
        let plugin = self.plugin.as_deref();
        let page = self
            .view
            .present(plugin, &self.prefix, &self.cursor, PRESENT_BYTES)
            .map_err(|fault| {
                tracing::error!(%fault, "the present state cannot be read");
                Failure::new(
                    FailureCode::Fault,
                    "this node cannot read its state; ask another",
                )
            })?;
        self.cursor = page.next.unwrap_or(PresentCursor::END);
        Ok((!page.keys.is_empty()).then_some(WatchItem::Present(page.keys)))
    }
}

impl Progress {
    /// The first time differs from watch to watch, so that they do not all wake at once.
    fn new(every: Duration, number: u64) -> Self {
        let share = u32::try_from(number % 64).expect("less than 64");
        let first = every / 2 + every * share / 128;
        Self {
            every,
            timer: Box::pin(sleep_until(Instant::now() + first)),
        }
    }

    fn poll_due(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let due = self.timer.as_mut().poll(context);
        if due.is_ready() {
            let next = Instant::now() + self.every;
            self.timer.as_mut().reset(next);
        }
        due
    }
}
