//! What the author sees: one call a line, and what it wrote below.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use hostd_machine::{CallRecord, Called, Change, Subject};
use hostd_protocol::{Activated, Call, CallError, Outcome, show, show_bytes};

use super::advice;

/// Characters of a value that are shown.
const SHOWN_CHARS: usize = 100;

/// A command, or a timer's handler.
#[expect(clippy::needless_pass_by_value, reason = "a sink takes what it gets")]
pub(super) fn call(record: CallRecord) {
    let mut text = match &record.called {
        Called::Command { name, arguments } => words(name, arguments),
        Called::Timer(id) => format!("[timer] {}", bytes(id)),
    };
    let _ = write!(
        text,
        "  =>  {}  ({} fuel)",
        outcome(&record.outcome),
        record.fuel
    );
    for change in &record.writes {
        let _ = write!(text, "\n      {}", written(change));
    }
    say(&text);
}

/// A read.
pub(super) fn read(_principal: &str, call: &Call, came_to: &Outcome, fuel: u64) {
    let called = words(&call.command, &call.arguments);
    say(&format!(
        "{called}  =>  {}  ({fuel} fuel, a read)",
        outcome(came_to)
    ));
}

pub(super) fn ready(address: SocketAddr, data: &Path) {
    say(&format!(
        "\nready on {address}. In another terminal:\n\n  export HOSTCTL_PKI={}{}\n  hostctl commands\n\nA change of \
         the source takes over by itself. Ctrl-C ends it.\n",
        data.join("pki").display(),
        if address.to_string() == hostd_protocol::DEFAULT_ADDRESS {
            String::new()
        } else {
            format!(" HOSTCTL_SERVER={address}")
        }
    ));
}

pub(super) fn building(path: &Path) {
    say(&format!("building {}", path.display()));
}

pub(super) fn not_built(path: &Path, error: &str) {
    say(&format!("{} does not build: {error}", path.display()));
}

pub(super) fn taken_up(activated: &Activated) {
    let Activated {
        result,
        plugin,
        version,
        ..
    } = activated;
    say(&format!("{result}: {plugin} {version}"));
}

pub(super) fn not_taken_up(error: &CallError) {
    say(&format!(
        "the version before goes on: {}{}",
        error.message(),
        advice(error)
    ));
}

fn words(command: &str, arguments: &[serde_bytes::ByteBuf]) -> String {
    let mut text = command.to_owned();
    for argument in arguments {
        text.push(' ');
        text.push_str(&bytes(argument));
    }
    text
}

/// An outcome, its lines below each other.
fn outcome(outcome: &Outcome) -> String {
    shortened(&show(outcome).replace('\n', "\n      "))
}

fn written(change: &Change) -> String {
    let key = bytes(&change.key);
    match (change.subject, &change.value) {
        (Subject::Key, Some(value)) => format!("{key} = {}", bytes(value)),
        (Subject::Key, None) => format!("{key} removed"),
        (Subject::Timer, Some(_)) => format!("timer {key} set"),
        (Subject::Timer, None) => format!("timer {key} gone"),
    }
}

fn bytes(bytes: &[u8]) -> String {
    shortened(&show_bytes(bytes))
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= SHOWN_CHARS {
        return text.to_owned();
    }
    let start: String = text.chars().take(SHOWN_CHARS).collect();
    format!("{start}… ({} bytes)", text.len())
}

fn say(text: &str) {
    // Whoever started this may have closed its output; that is no reason to stop.
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}
