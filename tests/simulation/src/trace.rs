//! What happened: every event in order, as text for people and as a hash for comparing runs.
//!
//! Nodes tell what they do as `tracing` events, which the simulation receives in the thread that
//! simulates. Events of target [`OBSERVED`] are facts for the checks; all others are for people.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, MutexGuard};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::process::Process;

/// Target of events that checks read. Their fields are numbers.
pub(crate) const OBSERVED: &str = "hostd_observed";

/// Lines that are kept for a report.
const LINES_MAX: usize = 4_000;

thread_local! {
    /// Which node runs in this moment, and its process; none for the world around them.
    static RUNNING: RefCell<Option<(u64, Process)>> = const { RefCell::new(None) };
}

fn running() -> u64 {
    RUNNING.with_borrow(|running| running.as_ref().map_or(0, |(id, _)| *id))
}

/// How often things happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl Counters {
    /// It happened `times` more.
    pub(crate) fn add(&self, what: &'static str, times: u64) {
        let mut counts = self
            .0
            .lock()
            .expect("nothing panics while it holds the lock");
        *counts.entry(what).or_default() += times;
    }

    /// All of them.
    pub(crate) fn all(&self) -> BTreeMap<&'static str, u64> {
        self.0
            .lock()
            .expect("nothing panics while it holds the lock")
            .clone()
    }
}

/// A fact for the checks: what happened, on which node, with which numbers.
#[derive(Clone, Debug)]
pub(crate) struct Observation {
    /// The node.
    pub(crate) node: u64,
    /// The event's message.
    pub(crate) what: String,
    numbers: BTreeMap<&'static str, u64>,
}

impl Observation {
    /// A number of the event; 0 where it has none of that name.
    pub(crate) fn number(&self, name: &str) -> u64 {
        self.numbers.get(name).copied().unwrap_or(0)
    }
}

/// The trace of one run. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Trace(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    now_ms: u64,
    lines: VecDeque<String>,
    hasher: blake3::Hasher,
    observations: Vec<Observation>,
    /// Print each line when it comes.
    loud: bool,
}

impl Trace {
    /// An empty trace.
    pub(crate) fn new(loud: bool) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            now_ms: 0,
            lines: VecDeque::new(),
            hasher: blake3::Hasher::new(),
            observations: Vec::new(),
            loud,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0
            .lock()
            .expect("nothing panics while it holds the lock")
    }

    /// What follows happens at this time.
    pub(crate) fn set_time(&self, now_ms: u64) {
        self.lock().now_ms = now_ms;
    }

    /// Something happened.
    pub(crate) fn say(&self, text: &str) {
        self.lock().line(running(), text);
    }

    /// What was observed since the last call.
    pub(crate) fn observations(&self) -> Vec<Observation> {
        std::mem::take(&mut self.lock().observations)
    }

    /// The last lines.
    pub(crate) fn last_lines(&self, count: usize) -> Vec<String> {
        let inner = self.lock();
        let skipped = inner.lines.len().saturating_sub(count);
        inner.lines.iter().skip(skipped).cloned().collect()
    }

    /// A hash of everything so far.
    pub(crate) fn hash(&self) -> String {
        self.lock().hasher.finalize().to_hex().to_string()
    }

    /// Calls a function as a process of node `id`, for whatever it tells. What a dead one tells
    /// is not heard.
    pub(crate) fn running<T>(id: u64, process: &Process, function: impl FnOnce() -> T) -> T {
        let before = RUNNING.replace(Some((id, process.clone())));
        let result = function();
        RUNNING.set(before);
        result
    }
}

impl Inner {
    fn line(&mut self, node: u64, text: &str) {
        let (seconds, ms) = (self.now_ms / 1000, self.now_ms % 1000);
        let line = if node == 0 {
            format!("{seconds:>4}.{ms:03}        {text}")
        } else {
            format!("{seconds:>4}.{ms:03} node {node} {text}")
        };
        self.hasher.update(line.as_bytes());
        if self.loud {
            println!("{line}");
        }
        self.lines.push_back(line);
        if self.lines.len() > LINES_MAX {
            self.lines.pop_front();
        }
    }
}

/// Receives the nodes' events.
#[derive(Debug)]
pub(crate) struct Listener {
    trace: Trace,
    /// Of events for people.
    level: Level,
}

impl Listener {
    /// Takes in what is told at `level` and above.
    pub(crate) fn new(trace: Trace, level: Level) -> Self {
        Self { trace, level }
    }
}

impl Subscriber for Listener {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let target = metadata.target();
        // What a node asks before it says anything is neither a span nor an event.
        !metadata.is_span()
            && (target == OBSERVED
                || (target.starts_with("hostd") && *metadata.level() <= self.level))
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let dead = |(_, process): &(u64, Process)| process.is_dead();
        if RUNNING.with_borrow(|running| running.as_ref().is_some_and(dead)) {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let node = running();
        let mut inner = self.trace.lock();
        if event.metadata().target() == OBSERVED {
            let mut text = fields.message.clone();
            for (name, number) in &fields.numbers {
                let _ = write!(text, " {name}={number}");
            }
            inner.hasher.update(text.as_bytes());
            inner.observations.push(Observation {
                node,
                what: fields.message,
                numbers: fields.numbers,
            });
        } else {
            let text = format!("{}{}", fields.message, fields.others);
            inner.line(node, &text);
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// An event's fields.
#[derive(Default)]
struct Fields {
    message: String,
    numbers: BTreeMap<&'static str, u64>,
    others: String,
}

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.numbers.insert(field.name(), value);
        let _ = write!(self.others, " {}={value}", field.name());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            let _ = write!(self.others, " {}={value:?}", field.name());
        }
    }
}
