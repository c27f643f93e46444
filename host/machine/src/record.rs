//! What each call did, for people: a log that is shown, a version that is tried, a plugin under
//! development. Nothing of this is state, and nothing that is replicated may depend on it.

use std::sync::Arc;

use hostd_protocol::{Outcome, TimeNs};
use serde_bytes::ByteBuf;

use crate::apply::Moment;
use crate::catalogue::Installed;
use crate::machine::Machine;
use crate::store::{Table, Writes, space_prefix};

/// One run of a command, or of a timer's handler.
#[derive(Clone, Debug, PartialEq)]
pub struct CallRecord {
    /// Index of the log entry.
    pub index: u64,
    /// Place of the command in its entry.
    pub offset: u32,
    /// Time of the command.
    pub time: TimeNs,
    /// Who called; empty for a timer.
    pub principal: String,
    /// The plugin; `None` when the command is nobody's.
    pub plugin: Option<Arc<str>>,
    /// Version of the plugin that answered; empty when none did.
    pub version: String,
    /// What ran.
    pub called: Called,
    /// What it came to.
    pub outcome: Outcome,
    /// What it used.
    pub fuel: u64,
    /// What took effect, by key.
    pub writes: Vec<Change>,
}

/// What ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Called {
    /// A command.
    Command {
        /// Its name, as it was called.
        name: String,
        /// Its arguments.
        arguments: Vec<ByteBuf>,
    },
    /// A timer's handler.
    Timer(Vec<u8>),
}

/// A change that a call made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// What was changed.
    pub subject: Subject,
    /// The key, or the timer's id, as the plugin names it.
    pub key: Vec<u8>,
    /// The value, or the time at which the timer is due, big-endian; `None` when it was removed.
    pub value: Option<Arc<[u8]>>,
}

/// What a change is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A key of the plugin's state.
    Key,
    /// A timer.
    Timer,
}

/// Takes what was recorded.
pub type Sink = Box<dyn FnMut(CallRecord) + Send>;

pub(crate) struct Recorder {
    sink: Sink,
    /// Instances live for one call only, so that what an author keeps in memory vanishes at once.
    pub(crate) recycle: bool,
    /// What the call that runs has written.
    changes: Vec<Change>,
}

impl Recorder {
    pub(crate) fn new(sink: Sink, recycle: bool) -> Self {
        Self {
            sink,
            recycle,
            changes: Vec::new(),
        }
    }
}

impl Machine {
    /// Records each call from now on, and drops a plugin's instance after each, as nothing but a
    /// plugin's development wants it.
    pub fn develop(&mut self, sink: Sink) {
        self.recorder = Some(Recorder::new(sink, true));
    }

    /// Notes what the running call has written, once that has taken effect.
    pub(crate) fn note_changes(&mut self, installed: &Installed, writes: &Writes) {
        if let Some(recorder) = &mut self.recorder {
            recorder.changes = changes(installed, writes);
        }
    }

    /// Hands on what a call came to.
    pub(crate) fn record_call(
        &mut self,
        moment: &Moment<'_>,
        principal: &str,
        plugin: Option<&Installed>,
        called: Called,
        (outcome, fuel): (&Outcome, u64),
    ) {
        let Some(recorder) = &mut self.recorder else {
            return;
        };
        if recorder.recycle {
            self.instances.clear();
        }
        (recorder.sink)(CallRecord {
            index: moment.revision.index,
            offset: moment.revision.position,
            time: moment.now,
            principal: principal.to_owned(),
            plugin: plugin.map(|plugin| Arc::clone(&plugin.name)),
            version: plugin.map_or_else(String::new, |plugin| {
                plugin.plugin.description().version.clone()
            }),
            called,
            outcome: outcome.clone(),
            fuel,
            writes: std::mem::take(&mut recorder.changes),
        });
    }
}

/// The changes that a plugin knows of; its state's mirror in a migration is not among them.
fn changes(installed: &Installed, writes: &Writes) -> Vec<Change> {
    let data = space_prefix(installed.record.space);
    let timers = Table::TimerById.key(&[&installed.id.to_be_bytes()]);
    let change = |subject, key: &[u8], value: &Option<Arc<[u8]>>| Change {
        subject,
        key: key.to_vec(),
        value: value.clone(),
    };
    writes
        .iter()
        .filter_map(|(key, value)| {
            let of = |prefix: &[u8]| key.strip_prefix(prefix);
            of(&data)
                .map(|key| change(Subject::Key, key, value))
                .or_else(|| of(&timers).map(|id| change(Subject::Timer, id, value)))
        })
        .collect()
}
