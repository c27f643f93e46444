//! `hostctl log show`.

use std::io::Write as _;
use std::time::{Duration, SystemTime};

use hostd_client::Client;
use hostd_protocol::json::of_reply;
use hostd_protocol::{LogLine, LogPage, Logged, Outcome, TimeNs, show_bytes};
use serde_json::{Value, json};

use crate::args::{Format, Global};
use crate::exit::Exit;
use crate::{connect, output};

/// Lines that are asked for at once.
const PAGE_LINES: u32 = 10_000;

/// Characters of an argument or a reply that are shown.
const SHOWN_CHARS: usize = 60;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hostctl log show
  hostctl log show --plugin kv --from 1200 --count 50
  hostctl log show -o json | jq '.[] | select(.principal == \"admin\")'

A node keeps the end of its log, 16 MiB at least. What came of a call, and its fuel, is computed anew \
from one of the last checkpoints on, and is `-` for what lies before. Arguments that a plugin marks as secret are not shown.")]
pub(crate) struct Show {
    /// Index of the first entry
    #[arg(long, value_name = "INDEX", default_value_t = 0)]
    from: u64,
    /// Only what concerns this plugin
    #[arg(long, value_name = "NAME")]
    plugin: Option<String>,
    /// At most so many lines
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

pub(super) async fn run(global: &Global, show: Show) -> Result<(), Exit> {
    let client = connect::one_shot(global).await?;
    let shown = pages(global, &client, show).await;
    client.close().await;
    shown
}

async fn pages(global: &Global, client: &Client, show: Show) -> Result<(), Exit> {
    let mut left = show.count.unwrap_or(u64::MAX);
    let mut from = show.from;
    let mut first = true;
    let mut objects = Vec::new();
    while left > 0 {
        let count = u64::from(PAGE_LINES).min(left) as u32;
        let mut page = client.log(from, show.plugin.clone(), count).await?;
        page.lines.truncate(left as usize);
        left -= page.lines.len() as u64;
        match global.output {
            Format::Json => objects.extend(page.lines.iter().map(object)),
            Format::Text => text(&page, first)?,
        }
        first = false;
        match page.next {
            Some(next) => from = next,
            None => break,
        }
    }
    if global.output == Format::Json {
        output::json(&objects)?;
    }
    Ok(())
}

fn text(page: &LogPage, first: bool) -> std::io::Result<()> {
    let mut out = output::stdout();
    if first {
        writeln!(
            out,
            "{:>10}  {:<27}  {:<12}  {:>12}  CALL  =>  OUTCOME",
            "INDEX", "TIME", "WHO", "FUEL"
        )?;
    }
    for line in &page.lines {
        let (who, what) = words(&line.logged);
        let place = match line.offset {
            0 => line.index.to_string(),
            offset => format!("{}.{offset}", line.index),
        };
        let outcome = match (&line.logged, &line.outcome) {
            (_, Some(outcome)) => format!("  =>  {}", outcome_words(outcome)),
            (Logged::Call { .. }, None) => "  =>  -".to_owned(),
            (Logged::Own { .. }, None) => String::new(),
        };
        let fuel = line
            .fuel
            .map_or_else(|| "-".to_owned(), |fuel| fuel.to_string());
        let time = line.time.map_or_else(|| "-".to_owned(), when);
        writeln!(
            out,
            "{place:>10}  {time:<27}  {who:<12}  {fuel:>12}  {what}{outcome}"
        )?;
    }
    out.flush()
}

fn words(logged: &Logged) -> (&str, String) {
    match logged {
        Logged::Call { principal, .. } => (principal, call_words(logged)),
        Logged::Own {
            principal,
            what,
            detail,
        } => {
            let who = if principal.is_empty() { "-" } else { principal };
            (who, format!("[{what}] {detail}").trim_end().to_owned())
        }
    }
}

/// A call as one would type it.
pub(crate) fn call_words(logged: &Logged) -> String {
    match logged {
        Logged::Call {
            plugin,
            command,
            arguments,
            ..
        } => {
            let mut words = match plugin {
                // It may have been called by its whole name.
                Some(plugin) if !command.contains('.') => format!("{plugin}.{command}"),
                _ => command.clone(),
            };
            for argument in arguments {
                words.push(' ');
                match argument {
                    Some(bytes) => words.push_str(&bytes_words(bytes)),
                    None => words.push_str("(secret)"),
                }
            }
            words
        }
        Logged::Own { what, detail, .. } => format!("[{what}] {detail}"),
    }
}

/// What came of a call, on a line.
pub(crate) fn outcome_words(outcome: &Outcome) -> String {
    match outcome {
        Ok(reply) => shortened(&of_reply(reply).to_string()),
        Err(rejection) => shortened(&rejection.to_string()),
    }
}

pub(crate) fn bytes_words(bytes: &[u8]) -> String {
    shortened(&show_bytes(bytes))
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= SHOWN_CHARS {
        return text.to_owned();
    }
    let start: String = text.chars().take(SHOWN_CHARS).collect();
    format!("{start}…")
}

fn when(time: TimeNs) -> String {
    let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(time);
    humantime::format_rfc3339_micros(time).to_string()
}

fn object(line: &LogLine) -> Value {
    let (principal, plugin, what, detail, arguments) = match &line.logged {
        Logged::Call {
            principal,
            plugin,
            command,
            arguments,
        } => {
            let arguments: Vec<Value> = arguments
                .iter()
                .map(|argument| match argument {
                    Some(bytes) => of_reply(&hostd_protocol::Reply::Bytes(bytes.to_vec())),
                    None => Value::Null,
                })
                .collect();
            (principal, plugin.clone(), command, None, Some(arguments))
        }
        Logged::Own {
            principal,
            what,
            detail,
        } => (principal, None, what, Some(detail), None),
    };
    json!({
        "index": line.index,
        "offset": line.offset,
        "term": line.term,
        "time": line.time.map(when),
        "principal": principal,
        "kind": if arguments.is_some() { "call" } else { what.as_str() },
        "plugin": plugin,
        "command": arguments.as_ref().map(|_| what),
        "arguments": arguments,
        "detail": detail,
        "outcome": line.outcome.as_ref().map(outcome_json),
        "fuel": line.fuel,
    })
}

pub(crate) fn outcome_json(outcome: &Outcome) -> Value {
    match outcome {
        Ok(reply) => json!({ "ok": of_reply(reply) }),
        Err(rejection) => json!({
            "error": rejection.code.as_str(),
            "message": rejection.message,
        }),
    }
}
