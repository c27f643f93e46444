//! The audit log: who did what of an administrator's doings, and who was refused what. Never a value:
//! not an argument that is none of a key's, not a secret.
//!
//! A line of JSON each, in `audit.log` of the node's directory, and as a log line with the target
//! `audit`. It must not hold up requests: a thread writes, and what comes faster than that is counted.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::SystemTime;

use hostd_gateway::Caller;
use hostd_machine::View;
use hostd_protocol::{
    Call, CallError, MemberChange, PluginChange, PolicyChange, Request, Rule, SnapshotRequest,
    TokenChange, TokenRequest, hex,
};
use serde::Serialize;

/// The file's name.
pub(crate) const AUDIT_FILE: &str = "audit.log";

/// Size at which the file is put aside, as `audit.log.1`, and a new one begun.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Bytes that are noted of what somebody asked for who may, and of anything else: whoever is refused must
/// not push everything else out of the file with a few long requests.
const DONE_BYTES_MAX: usize = 8 << 10;
const TEXT_BYTES_MAX: usize = 1 << 10;

/// Lines that wait for the disk.
const LINES_MAX: usize = 1_024;

/// Where the lines go. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct AuditLog(Option<Arc<Writer>>);

#[derive(Debug)]
struct Writer {
    lines: SyncSender<String>,
    /// Lines that were not written since the last one that was.
    lost: AtomicU64,
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    identity: &'a str,
    from: String,
    what: &'a str,
    outcome: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    lost: u64,
}

impl AuditLog {
    /// Log lines only, no file.
    pub fn without_file() -> Self {
        Self(None)
    }

    /// Into the file of a node's directory, from its end.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        let path = directory.join(AUDIT_FILE);
        let file = open(&path)?;
        let (lines, queue) = sync_channel(LINES_MAX);
        std::thread::Builder::new()
            .name("audit".into())
            .spawn(move || write_all(&path, file, &queue))?;
        Ok(Self(Some(Arc::new(Writer {
            lines,
            lost: AtomicU64::new(0),
        }))))
    }

    /// Notes what became of something that an administrator asked for, or that was refused.
    pub(crate) fn note(&self, caller: &Caller, what: &str, became: Result<(), &CallError>) {
        let (outcome, reason) = match became {
            Ok(()) => ("done", ""),
            Err(error) if is_refusal(error) => ("refused", error.message()),
            Err(error) => ("failed", error.message()),
        };
        let what_max = if outcome == "done" {
            DONE_BYTES_MAX
        } else {
            TEXT_BYTES_MAX
        };
        let (what, reason) = (&*cut(what, what_max), &*cut(reason, TEXT_BYTES_MAX));
        let (identity, from) = (&*caller.identity, caller.from);
        if outcome == "done" {
            tracing::info!(target: "audit", identity, %from, what, outcome);
        } else {
            tracing::warn!(target: "audit", identity, %from, what, outcome, reason);
        }
        let Some(writer) = &self.0 else { return };
        let lost = writer.lost.swap(0, Ordering::Relaxed);
        let now = humantime::format_rfc3339_millis(SystemTime::now());
        let line = Line {
            time: now.to_string(),
            identity,
            from: from.to_string(),
            what,
            outcome,
            reason,
            lost,
        };
        let line = serde_json::to_string(&line).expect("text has a JSON form");
        if let Err(TrySendError::Full(_)) = writer.lines.try_send(line) {
            writer.lost.fetch_add(lost + 1, Ordering::Relaxed);
        }
    }
}

/// Whether an error says that the caller may not do this.
pub(crate) fn is_refusal(error: &CallError) -> bool {
    matches!(error.code(), "permission_denied" | "unauthenticated")
}

/// The beginning of a text, and a sign that there was more.
fn cut(text: &str, bytes_max: usize) -> Cow<'_, str> {
    if text.len() <= bytes_max {
        return text.into();
    }
    let mut end = bytes_max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end]).into()
}

/// Which command a call is of. Of its arguments, nothing.
#[derive(Debug)]
pub(crate) struct Called {
    plugin: Option<String>,
    command: String,
}

impl Called {
    pub(crate) fn of(call: &Call) -> Self {
        Self {
            plugin: call.plugin.clone(),
            command: call.command.clone(),
        }
    }

    pub(crate) fn of_request(request: &Request) -> Option<Self> {
        match request {
            Request::Call(call) | Request::Read(call) => Some(Self::of(call)),
            _ => None,
        }
    }

    /// `plugin.command`, by the plugins that there are; else as it was asked for.
    pub(crate) fn name(&self, view: &View) -> String {
        let known = view
            .catalogue()
            .described(self.plugin.as_deref(), &self.command);
        match (known, &self.plugin) {
            (Some((plugin, command)), _) => format!("{plugin}.{}", command.name),
            (None, Some(plugin)) => format!("{plugin}.{}", self.command),
            (None, None) => self.command.clone(),
        }
    }
}

/// What an administrator asks for, without values; `None` for what is no administrator's doing.
pub(crate) fn subject(request: &Request) -> Option<String> {
    Some(match request {
        Request::Member(change) => member(change),
        Request::Plugin { change, .. } if !matches!(change, PluginChange::Upload { .. }) => {
            plugin(change)
        }
        Request::ChangePolicy { change, .. } => policy(change),
        Request::Log { .. } => "log show".into(),
        Request::DryRun { .. } => "plugin upgrade --dry-run".into(),
        Request::Verify { .. } => "verify".into(),
        Request::Policy => "policy show".into(),
        Request::Token(TokenRequest::List) => "token list".into(),
        Request::Token(TokenRequest::Change(change)) => match change {
            TokenChange::Create { id, .. } => format!("token create {id}"),
            TokenChange::Revoke { id } => format!("token revoke {id}"),
            TokenChange::Use { .. } => "token use".into(),
        },
        Request::Snapshot(SnapshotRequest::Now { .. }) => "snapshot now".into(),
        Request::Snapshot(SnapshotRequest::List) => "snapshot list".into(),
        Request::Snapshot(SnapshotRequest::Read { .. }) => "snapshot read".into(),
        Request::Plugin { .. }
        | Request::Call(_)
        | Request::Read(_)
        | Request::OpenSession
        | Request::CloseSession { .. }
        | Request::Commands
        | Request::Status { .. }
        | Request::Members
        | Request::Plugins
        | Request::Metrics
        | Request::Barrier { .. }
        | Request::Raft
        | Request::Clock
        | Request::Watch(_) => return None,
    })
}

fn member(change: &MemberChange) -> String {
    match change {
        MemberChange::Add {
            node,
            address,
            learner,
        } => {
            let learner = if *learner { " --learner" } else { "" };
            format!("member add {node} {address}{learner}")
        }
        MemberChange::Promote(node) => format!("member promote {node}"),
        MemberChange::Demote(node) => format!("member demote {node}"),
        MemberChange::Remove(node) => format!("member remove {node}"),
        MemberChange::Transfer(Some(node)) => format!("member transfer {node}"),
        MemberChange::Transfer(None) => "member transfer".into(),
    }
}

fn plugin(change: &PluginChange) -> String {
    match change {
        PluginChange::Upload { .. } => "plugin upload".into(),
        PluginChange::Activate { digest, replace } => {
            let how = if *replace { "upgrade" } else { "install" };
            format!("plugin {how} {}", hex(digest))
        }
        PluginChange::Remove { plugin, purge } => {
            let purge = if *purge { " --purge" } else { "" };
            format!("plugin remove {plugin}{purge}")
        }
        PluginChange::Forget { plugin, digest } => {
            format!("plugin forget {plugin} {}", hex(digest))
        }
        PluginChange::Limit { plugin, values } => {
            let names: Vec<&str> = values.iter().map(|(name, _)| name.as_str()).collect();
            let of = plugin.as_deref().unwrap_or("the cluster");
            format!("plugin limit {of} {}", names.join(" "))
        }
        PluginChange::Discard { digest } => format!("plugin discard {}", hex(digest)),
    }
}

fn policy(change: &PolicyChange) -> String {
    let list = |rules: &[Rule]| {
        let lines: Vec<String> = rules.iter().map(Rule::to_string).collect();
        lines.join("; ")
    };
    match change {
        PolicyChange::Allow(rules) => format!("policy allow {}", list(rules)),
        PolicyChange::Revoke(rules) => format!("policy revoke {}", list(rules)),
        PolicyChange::PutUser { name, .. } => format!("user add {name}"),
        PolicyChange::RemoveUser { name } => format!("user remove {name}"),
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// Until the last sender is gone.
fn write_all(path: &Path, mut file: File, queue: &Receiver<String>) {
    while let Ok(mut line) = queue.recv() {
        line.push('\n');
        let written = file
            .write_all(line.as_bytes())
            .and_then(|()| rotate(path, &mut file));
        if let Err(error) = written {
            tracing::error!(path = %path.display(), %error, "the audit log cannot be written");
        }
    }
}

fn rotate(path: &Path, file: &mut File) -> io::Result<()> {
    if file.metadata()?.len() < FILE_BYTES_MAX {
        return Ok(());
    }
    let mut aside = PathBuf::from(path).into_os_string();
    aside.push(".1");
    std::fs::rename(path, aside)?;
    *file = open(path)?;
    Ok(())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
