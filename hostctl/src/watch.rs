//! `hostctl watch`.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::ffi::OsStringExt;

use hostd_client::{Change, ChangeEvent, Revision, Start, Watch, WatchItem};
use hostd_protocol::{json as as_json, show_bytes};
use serde_json::json;

use crate::args::{Format, Global};
use crate::exit::Exit;
use crate::{connect, output};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hostctl watch                              every key of every plugin that shows its keys
  hostctl watch --plugin kv user:            keys of kv that begin with user:
  hostctl watch --plugin kv --present        first all keys as they are, then every change
  hostctl watch --plugin kv --from 4711      from the changes of log entry 4711 on
  hostctl watch --topics orders.             what plugins publish on topics that begin with orders.

A line is REVISION PLUGIN put KEY VALUE, delete KEY, expired KEY (a timer removed it), present KEY VALUE, or \
publish TOPIC PAYLOAD. All that one command changed has one revision, and a watch goes on with --from \
the revision behind the last one. It lasts until it is stopped, over whatever happens to nodes.

Exit codes: 0 stopped; 8 (compacted) the changes from there on are not known any more: begin again \
with --present.")]
pub(crate) struct Arguments {
    /// What the keys, or the topics, begin with
    #[arg(value_name = "PREFIX", default_value = "", hide_default_value = true)]
    prefix: OsString,

    /// The plugin; all when it is not given
    #[arg(long, value_name = "NAME")]
    plugin: Option<String>,

    /// Begin with the changes of this revision: INDEX, or INDEX-POSITION
    #[arg(long, value_name = "REVISION", conflicts_with = "present")]
    from: Option<Revision>,

    /// Begin with all keys as they are
    #[arg(long)]
    present: bool,

    /// Watch what plugins publish instead of keys
    #[arg(long, conflicts_with = "present")]
    topics: bool,
}

pub(crate) async fn run(global: &Global, arguments: Arguments) -> Result<(), Exit> {
    let mut watch = if arguments.topics {
        let prefix = arguments.prefix.into_string();
        Watch::topics(prefix.map_err(|_| Exit::Usage("a topic is UTF-8 text".into()))?)
    } else {
        Watch::keys(arguments.prefix.into_vec())
    };
    watch.plugin = arguments.plugin;
    watch.start = match (arguments.from, arguments.present) {
        (Some(revision), _) => Start::From(revision),
        (None, true) => Start::Present,
        (None, false) => Start::Now,
    };
    let client = connect::builder(global)?.connect().await?;
    let mut watcher = client.watch(watch);
    let stopped = stopped()?;
    tokio::pin!(stopped);
    loop {
        let item = tokio::select! {
            item = watcher.next() => item?,
            () = &mut stopped => return Ok(()),
        };
        print(&item, global.output)?;
    }
}

/// Waits until somebody wants this to end.
fn stopped() -> Result<impl Future<Output = ()>, Exit> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Prints at once what there is: whoever reads wants it now.
fn print(item: &WatchItem, format: Format) -> io::Result<()> {
    let mut out = output::stdout();
    match item {
        WatchItem::Begin(_) | WatchItem::Progress(_) => {}
        WatchItem::Synced(revision) => {
            if format == Format::Json {
                writeln!(
                    out,
                    "{}",
                    json!({ "revision": revision.to_string(), "type": "synced" })
                )?;
            }
        }
        WatchItem::Present(keys) => {
            for key in keys {
                match format {
                    Format::Text => write_words(
                        &mut out,
                        (key.revision, &key.plugin, "present"),
                        &[&key.key, &key.value],
                    )?,
                    Format::Json => writeln!(out, "{}", as_json::of_present(key))?,
                }
            }
        }
        WatchItem::Changed(changed) => {
            for change in &changed.changes {
                match format {
                    Format::Text => write_change(&mut out, changed.revision, change)?,
                    Format::Json => {
                        writeln!(out, "{}", as_json::of_change(changed.revision, change))?;
                    }
                }
            }
        }
    }
    out.flush()
}

fn write_change(out: &mut impl Write, revision: Revision, change: &Change) -> io::Result<()> {
    let line = |what| (revision, &*change.plugin, what);
    match &change.event {
        ChangeEvent::Put { key, value } => write_words(out, line("put"), &[key, value]),
        ChangeEvent::Delete { key, expired } => {
            let what = if *expired { "expired" } else { "delete" };
            write_words(out, line(what), &[key])
        }
        ChangeEvent::Published { topic, payload } => {
            write_words(out, line("publish"), &[topic.as_bytes(), payload])
        }
        ChangeEvent::Renewed => Ok(()),
    }
}

fn write_words(
    out: &mut impl Write,
    (revision, plugin, what): (Revision, &str, &str),
    words: &[&[u8]],
) -> io::Result<()> {
    write!(out, "{revision} {plugin} {what}")?;
    for word in words {
        // One event is one line, whatever is in it.
        let word = show_bytes(word).replace('\n', "\\n").replace('\r', "\\r");
        write!(out, " {word}")?;
    }
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_one_line_whatever_is_in_it() {
        let change = Change {
            plugin: "kv".into(),
            event: ChangeEvent::Put {
                key: b"two words"[..].into(),
                value: b"a\nb"[..].into(),
            },
        };
        let revision = Revision::start_of(7);
        let mut out = Vec::new();
        write_change(&mut out, revision, &change).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "7-0 kv put \"two words\" \"a\\nb\"\n"
        );
    }
}
