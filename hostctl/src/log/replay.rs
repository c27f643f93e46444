//! `hostctl log replay`: the state as it was, out of a copy of a node's files.

use std::ffi::OsString;
use std::io::{self, BufRead as _, Write as _};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hostd_machine::{Budget, View};
use hostd_protocol::{CallError, Failure, FailureCode};
use hostd_replica::{History, LOG_FILE, LogDisk, STATE_FILE, open_database};
use indicatif::{ProgressBar, ProgressStyle};

use crate::args::{Format, Global, node_id};
use crate::exit::Exit;
use crate::reply;

/// Native stack for guest code: what a node's own threads have.
const STACK_BYTES: usize = 16 << 20;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cp -r data copy                                              of a node that is stopped
  hostctl log replay --until 1200 --data copy get greeting
  hostctl log replay --until 1200 --data copy < questions      one call a line
  hostctl log show                                             which entries there are

Works on files alone, and does not change them. The state is rebuilt from the last checkpoint in the \
copy, so entries before that need an older copy. Only reads can be asked.")]
pub(crate) struct Replay {
    /// Index of the last entry to apply; the last that is logged when it is left out
    #[arg(long, value_name = "INDEX")]
    until: Option<u64>,
    /// A copy of a data directory, or of one node's directory in it
    #[arg(long, value_name = "COPY")]
    data: PathBuf,
    /// The node, where the copy has several
    #[arg(long, value_name = "N", value_parser = node_id)]
    node: Option<u64>,
    /// The plugin, where two have a command of this name
    #[arg(long, value_name = "NAME")]
    plugin: Option<String>,
    /// A read command; without it, calls are read from standard input, one a line
    command: Option<String>,
    /// Its arguments
    #[arg(value_name = "ARG", allow_negative_numbers = true)]
    arguments: Vec<OsString>,
}

pub(super) fn run(global: &Global, replay: Replay) -> Result<(), Exit> {
    // Guest code may recurse as deep as it may on a node.
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, || rebuild(global, replay))
            .map_err(Exit::Io)?
            .join()
            .unwrap_or_else(|_| Err(Exit::Failed("the replay panicked".into())))
    })
}

fn rebuild(global: &Global, replay: Replay) -> Result<(), Exit> {
    let (directory, node) = node_directory(&replay.data, replay.node)?;
    let scratch = tempfile::tempdir()?;
    // Not the mark: it tells a node what it has promised, and a copy promises nothing.
    for file in [STATE_FILE, LOG_FILE] {
        let source = directory.join(file);
        if source.exists() {
            std::fs::copy(&source, scratch.path().join(file))?;
        }
    }
    let failed = |error: &dyn std::fmt::Display| {
        Exit::Failed(format!(
            "{}: {error}. A copy that is made while its node runs may be of no use: stop the node, or copy again",
            directory.display()
        ))
    };
    let state = open_database(&scratch.path().join(STATE_FILE), false, 1 << 20)?;
    let log = LogDisk::open(scratch.path(), false)?;
    let history = History::open(state, log, node).map_err(|error| failed(&error))?;
    let until = replay.until.unwrap_or(history.last());
    let bar = ProgressBar::new(until).with_style(
        ProgressStyle::with_template("replaying {bar:30} entry {pos} of {len}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let view = history
        .replay(until, |index| bar.set_position(index))
        .map_err(|error| Exit::invalid(format!("{}: {error}", directory.display())))?;
    bar.finish_and_clear();
    // Who asks in a conversation is told what is asked.
    if replay.command.is_none() && global.output == Format::Text {
        let time = std::time::SystemTime::UNIX_EPOCH + Duration::from_nanos(view.time());
        writeln!(
            io::stderr(),
            "the state of node {node} after entry {until}, {}",
            humantime::format_rfc3339_micros(time)
        )?;
    }
    match replay.command {
        Some(command) => {
            let arguments = replay
                .arguments
                .into_iter()
                .map(OsStringExt::into_vec)
                .collect();
            ask(global, &view, replay.plugin.as_deref(), &command, arguments)
        }
        None => ask_lines(global, &view, replay.plugin.as_deref()),
    }
}

/// Answers the calls on standard input. A call that fails is told and does not end it.
fn ask_lines(global: &Global, view: &View, plugin: Option<&str>) -> Result<(), Exit> {
    for line in io::stdin().lock().lines() {
        let line = line?;
        let Some(words) = shlex::split(&line) else {
            writeln!(io::stderr(), "invalid_argument: a quote is open: {line}")?;
            continue;
        };
        let mut words = words.into_iter();
        let Some(command) = words.next().filter(|word| !word.starts_with('#')) else {
            continue;
        };
        let arguments = words.map(String::into_bytes).collect();
        if let Err(exit) = ask(global, view, plugin, &command, arguments) {
            exit.report();
        }
    }
    Ok(())
}

fn ask(
    global: &Global,
    view: &View,
    plugin: Option<&str>,
    command: &str,
    arguments: Vec<Vec<u8>>,
) -> Result<(), Exit> {
    let arguments: Vec<_> = arguments.into_iter().map(Into::into).collect();
    let outcome = view
        .query(plugin, command, &arguments, Budget::Full)
        .map_err(|fault| Exit::Failed(fault.to_string()))?;
    let answer = outcome.map_err(|rejection| Exit::Call(CallError::from(rejection)))?;
    Ok(reply::print(&answer, global.output)?)
}

/// The directory of one node, and its number.
fn node_directory(data: &Path, node: Option<u64>) -> Result<(PathBuf, u64), Exit> {
    let number = |path: &Path| -> Option<u64> {
        path.file_name()?
            .to_str()?
            .strip_prefix("node-")?
            .parse()
            .ok()
    };
    let mut nodes: Vec<(u64, PathBuf)> = std::fs::read_dir(data)
        .map_err(|error| Exit::invalid(format!("{}: {error}", data.display())))?
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            Some((number(&path)?, path))
        })
        .collect();
    nodes.sort();
    if data.join(LOG_FILE).exists() {
        let id = node.or_else(|| number(data)).ok_or_else(|| {
            Exit::invalid(format!(
                "{} does not tell which node's it is; add --node N",
                data.display()
            ))
        })?;
        return Ok((data.to_owned(), id));
    }
    if let Some(node) = node {
        nodes.retain(|(id, _)| *id == node);
    }
    match nodes.as_slice() {
        [(id, path)] => Ok((path.clone(), *id)),
        [] => Err(Exit::Call(
            Failure::new(
                FailureCode::InvalidArgument,
                format!(
                    "{} has no node's directory; give a copy of hostd's --data",
                    data.display()
                ),
            )
            .into(),
        )),
        _ => Err(Exit::invalid(format!(
            "{} has the files of several nodes; choose one with --node",
            data.display()
        ))),
    }
}
