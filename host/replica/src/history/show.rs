//! Log entries as lines for people.

use hostd_machine::{Applied, Catalogue};
use hostd_protocol::{
    Command, Entry, LogLine, LogPage, Logged, Outcome, PluginChange, PolicyChange, Reply, Rule,
    TimeNs, TokenChange,
};
use serde_bytes::ByteBuf;

use super::{Content, History, HistoryError, apply, content};
use crate::types::LogEntry;

/// Bytes of lines from which a page ends.
const PAGE_BYTES: usize = 8 << 20;
/// Bytes of an argument, or of a reply, that are shown.
const SHOWN_BYTES: usize = 1 << 10;

pub(super) fn page(
    history: &History,
    from: u64,
    plugin: Option<&str>,
    count: usize,
) -> Result<LogPage, HistoryError> {
    let mut rehearsal = history.rehearsals.begin(from)?;
    let position = rehearsal.position().map(|position| position.index);
    let first = history.reader.first().unwrap_or(0);
    let mut page = LogPage {
        first,
        last: history.last,
        checkpoint: position.unwrap_or_default(),
        ..LogPage::default()
    };
    let mut bytes = 0;
    let mut take = |entry: &LogEntry, lines: Vec<LogLine>| {
        let wanted = lines
            .into_iter()
            .filter(|line| plugin.is_none_or(|plugin| concerns(line, plugin)));
        for line in wanted {
            bytes += line_bytes(&line);
            page.lines.push(line);
        }
        let full = page.lines.len() >= count || bytes >= PAGE_BYTES;
        page.next =
            (full && entry.log_id.index() < history.last).then_some(entry.log_id.index() + 1);
        !full
    };
    let start = from.max(first);
    let mut goes_on = true;
    // What the checkpoint includes is told as it was logged.
    let before = rehearsal.catalogue();
    if let Some(checkpoint) = position.filter(|checkpoint| start <= *checkpoint) {
        history.walk(start, checkpoint.min(history.last), |entry| {
            goes_on = take(entry, lines(entry, &before, None)?);
            Ok(goes_on)
        })?;
    }
    if goes_on {
        history.play(&mut rehearsal, history.last, |_, entry, rehearsal| {
            // Which plugin a name means depends on the plugins at that time.
            let seen = (entry.log_id.index() >= start).then(|| rehearsal.catalogue());
            let (applied, _) = apply(rehearsal, entry)?;
            match seen {
                Some(plugins) => Ok(take(entry, lines(entry, &plugins, Some(applied))?)),
                None => Ok(true),
            }
        })?;
    }
    Ok(page)
}

/// The lines of one entry.
fn lines(
    entry: &LogEntry,
    plugins: &Catalogue,
    applied: Option<Applied>,
) -> Result<Vec<LogLine>, HistoryError> {
    let line = |offset: u32, time: Option<TimeNs>, logged: Logged| LogLine {
        index: entry.log_id.index(),
        offset,
        term: entry.log_id.committed_leader_id().term,
        time,
        logged,
        outcome: None,
        fuel: None,
    };
    Ok(match content(entry)? {
        Content::Blank => vec![line(
            0,
            None,
            own("", "election", "a new leader's first entry"),
        )],
        Content::Membership(_) => {
            let members = match &entry.payload {
                openraft::EntryPayload::Membership(membership) => members(membership),
                _ => String::new(),
            };
            vec![line(0, None, own("", "membership", members))]
        }
        Content::Entry(Entry::Checkpoint { time, .. }) => {
            vec![line(0, Some(time), own("", "checkpoint", String::new()))]
        }
        Content::Entry(Entry::Batch(batch)) => {
            let (outcomes, fuel) = match applied {
                Some(Applied { outcomes, fuel, .. }) => (outcomes, fuel),
                None => (Vec::new(), Vec::new()),
            };
            let mut outcomes = outcomes.into_iter();
            let mut fuel = fuel.into_iter();
            batch
                .commands
                .into_iter()
                .enumerate()
                .map(|(offset, command)| {
                    let secret = holds_secret(plugins, &command);
                    let time = batch.time + offset as u64;
                    LogLine {
                        outcome: outcomes
                            .next()
                            .map(|outcome| shown_outcome(outcome, secret)),
                        fuel: fuel.next(),
                        ..line(offset as u32, Some(time), logged(plugins, command))
                    }
                })
                .collect()
        }
    })
}

fn own(principal: &str, what: &str, detail: impl Into<String>) -> Logged {
    Logged::Own {
        principal: principal.into(),
        what: what.into(),
        detail: detail.into(),
    }
}

/// A command, with what is secret left out.
pub(super) fn logged(plugins: &Catalogue, command: Command) -> Logged {
    match command {
        Command::Call {
            principal,
            plugin,
            command,
            arguments,
            ..
        } => call(plugins, principal, plugin.as_deref(), command, arguments),
        Command::Found { cluster, .. } => own("", "found", format!("cluster {cluster}")),
        Command::Install {
            principal,
            component,
        } => own(
            &principal,
            "install",
            format!("a component of {} bytes", component.len()),
        ),
        Command::OpenSession { principal } => own(&principal, "open-session", String::new()),
        Command::CloseSession { principal, session } => {
            own(&principal, "close-session", session.to_string())
        }
        Command::Wake => own("", "wake", "timers that are due"),
        Command::Work => own("", "work", "a step of a migration or of tidying up"),
        Command::Engine { engine } => own("", "engine", format!("rules {}", engine.rules)),
        Command::Policy { principal, change } => {
            let (what, detail) = policy_words(&change);
            own(&principal, what, detail)
        }
        Command::Token { principal, change } => {
            let (what, detail) = token_words(&change);
            own(&principal, what, detail)
        }
        Command::Plugin { principal, change } => {
            let (what, detail) = change_words(&change);
            own(&principal, what, detail)
        }
    }
}

/// Without what proves a token.
fn token_words(change: &TokenChange) -> (&'static str, String) {
    match change {
        TokenChange::Create { id, .. } => ("token-create", id.clone()),
        TokenChange::Revoke { id } => ("token-revoke", id.clone()),
        TokenChange::Use { id, node, .. } => ("token-use", format!("{id} for node {node}")),
    }
}

fn policy_words(change: &PolicyChange) -> (&'static str, String) {
    let list = |rules: &[Rule]| {
        let lines: Vec<String> = rules.iter().map(Rule::to_string).collect();
        lines.join("; ")
    };
    match change {
        PolicyChange::Allow(rules) => ("allow", list(rules)),
        PolicyChange::Revoke(rules) => ("revoke", list(rules)),
        PolicyChange::PutUser { name, .. } => ("put-user", name.clone()),
        PolicyChange::RemoveUser { name } => ("remove-user", name.clone()),
    }
}

/// A call, with what is secret left out.
pub(super) fn call(
    plugins: &Catalogue,
    principal: String,
    plugin: Option<&str>,
    command: String,
    arguments: Vec<ByteBuf>,
) -> Logged {
    let described = plugins.described(plugin, &command);
    let secrets = match &described {
        Some((_, description)) => description.secrets(&arguments),
        // What nobody described could be anything.
        None => vec![true; arguments.len()],
    };
    let arguments = arguments
        .into_iter()
        .zip(secrets)
        .map(|(argument, secret)| (!secret).then(|| shortened(argument)))
        .collect();
    Logged::Call {
        principal,
        plugin: described
            .map(|(plugin, _)| plugin.to_string())
            .or_else(|| plugin.map(str::to_owned)),
        command,
        arguments,
    }
}

/// Whether a secret goes into this command. What comes of it may tell the secret.
fn holds_secret(plugins: &Catalogue, command: &Command) -> bool {
    match command {
        Command::Call {
            plugin, command, ..
        } => takes_secret(plugins, plugin.as_deref(), command),
        _ => false,
    }
}

pub(super) fn takes_secret(plugins: &Catalogue, plugin: Option<&str>, command: &str) -> bool {
    plugins
        .described(plugin, command)
        .is_some_and(|(_, description)| {
            description.arguments.iter().any(|argument| argument.secret)
        })
}

/// An outcome, without what it may tell of a secret.
pub(super) fn shown_outcome(outcome: Outcome, secret: bool) -> Outcome {
    match outcome {
        Ok(Reply::Text(_) | Reply::Bytes(_) | Reply::Array(_) | Reply::Map(_)) if secret => {
            Ok(Reply::Text("(not shown: a secret went in)".into()))
        }
        Ok(reply) if reply.size_bytes() > SHOWN_BYTES => {
            Ok(Reply::Text(format!("({} bytes)", reply.size_bytes())))
        }
        Err(mut rejection) if secret => {
            rejection.message = "(not shown: a secret went in)".into();
            Err(rejection)
        }
        outcome => outcome,
    }
}

pub(super) fn shortened(mut bytes: ByteBuf) -> ByteBuf {
    bytes.truncate(SHOWN_BYTES);
    bytes
}

fn change_words(change: &PluginChange) -> (&'static str, String) {
    let hex = |digest: &[u8; 32]| hostd_protocol::hex(digest)[..12].to_owned();
    match change {
        PluginChange::Upload {
            digest,
            total,
            offset,
            bytes,
        } => (
            "upload",
            format!(
                "{} bytes at {offset} of {total} of component {}",
                bytes.len(),
                hex(digest)
            ),
        ),
        PluginChange::Discard { digest, .. } => ("discard", format!("component {}", hex(digest))),
        PluginChange::Activate { digest, .. } => ("activate", format!("component {}", hex(digest))),
        PluginChange::Remove { plugin, purge } => (
            "remove",
            format!("{plugin}{}", if *purge { " with its state" } else { "" }),
        ),
        PluginChange::Forget { plugin, digest } => {
            ("forget", format!("{plugin} version {}", hex(digest)))
        }
        PluginChange::Limit { plugin, values } => {
            let values: Vec<String> = values
                .iter()
                .map(|(name, value)| match value {
                    Some(value) => format!("{name}={value}"),
                    None => format!("{name}=default"),
                })
                .collect();
            let whose = plugin.as_deref().unwrap_or("the cluster");
            ("limit", format!("{whose}: {}", values.join(" ")))
        }
    }
}

fn members(membership: &crate::types::Membership) -> String {
    let voters: Vec<String> = membership.voter_ids().map(|id| id.to_string()).collect();
    let learners: Vec<String> = membership.learner_ids().map(|id| id.to_string()).collect();
    if learners.is_empty() {
        format!("voters {}", voters.join(" "))
    } else {
        format!(
            "voters {}; learners {}",
            voters.join(" "),
            learners.join(" ")
        )
    }
}

/// Whether a line is about a plugin.
fn concerns(line: &LogLine, name: &str) -> bool {
    match &line.logged {
        Logged::Call { plugin, .. } => plugin.as_deref() == Some(name),
        Logged::Own { detail, .. } => detail.split([' ', ':']).next() == Some(name),
    }
}

fn line_bytes(line: &LogLine) -> usize {
    const LINE_BYTES: usize = 128;
    let outcome = match &line.outcome {
        Some(Ok(reply)) => reply.size_bytes(),
        Some(Err(rejection)) => rejection.message.len(),
        None => 0,
    };
    let logged = match &line.logged {
        Logged::Call { arguments, .. } => arguments
            .iter()
            .map(|argument| 16 + argument.as_ref().map_or(0, |bytes| bytes.len()))
            .sum(),
        Logged::Own { detail, .. } => detail.len(),
    };
    LINE_BYTES + outcome + logged
}
