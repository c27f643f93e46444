//! Golden scripts: calls and their replies, written down in files.

use std::error::Error;
use std::io;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};

use goldenscript::{Command, Context, Runner};

use crate::{Host, show, words};

/// Runs every golden script (`*.script`) in a directory, each on a host of its own.
///
/// A script is a story, named after what happens in it. A line that begins with `>` is a call, as
/// one would type it; others tell the host what to do:
///
/// - `advance 1h30m`: time passes, timers fire;
/// - `restart`: the node stops and starts again;
/// - `events`: shows what was published since the last time.
///
/// What comes of them stands behind `---`; see the crate `goldenscript` for the format. Calls
/// that are refused show as `(error)`. With `UPDATE_GOLDENFILES=1` in the environment the
/// outcomes in the files are replaced by what happens now, for review.
///
/// ```text
/// # A key is gone once its time has come.
/// > set session data EX 60
/// advance 1m
/// > get session
/// ---
/// OK
/// 1 timer
/// (nil)
/// ```
///
/// # Panics
/// When a script comes out otherwise than written, cannot be read, or there is none.
pub fn run_scripts(component: &[u8], directory: impl AsRef<Path>) {
    let directory = directory.as_ref();
    let scripts = scripts_in(directory)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", directory.display()));
    assert!(
        !scripts.is_empty(),
        "there are no scripts in {}",
        directory.display()
    );
    let mut failed = Vec::new();
    for script in scripts {
        let mut story = Story {
            host: Host::new(component),
        };
        // A difference is a panic: the other scripts are run all the same.
        let run = || goldenscript::run(&mut story, &script);
        match std::panic::catch_unwind(AssertUnwindSafe(run)) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => failed.push(format!("{}: {error}", script.display())),
            Err(_) => failed.push(format!(
                "{}: other outcomes than written (see above)",
                script.display()
            )),
        }
    }
    assert!(failed.is_empty(), "scripts failed:\n{}", failed.join("\n"));
}

/// A golden script that was run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transcript {
    /// The file's text.
    pub written: String,
    /// The text as it would be with the outcomes of this run.
    pub now: String,
}

/// Runs one golden script on a host of its own and leaves the file as it is. [`run_scripts`] tells
/// what can be in one.
///
/// # Errors
/// When it cannot be read, or a line of it cannot be run.
///
/// # Panics
/// When the bytes are no plugin, or the plugin's timers never stop.
pub fn run_script(component: &[u8], script: impl AsRef<Path>) -> io::Result<Transcript> {
    let written = std::fs::read_to_string(script)?;
    let mut story = Story {
        host: Host::new(component),
    };
    let now = goldenscript::generate(&mut story, &written)?;
    Ok(Transcript { written, now })
}

/// The golden scripts (`*.script`) in a directory, in order.
pub fn scripts_in(directory: impl AsRef<Path>) -> io::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory)?;
    let mut scripts: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "script")
        })
        .collect();
    scripts.sort();
    Ok(scripts)
}

struct Story {
    host: Host,
}

impl Runner for Story {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        // goldenscript hands over a line behind `>` whole, as a name without arguments.
        let words = words::split(&command.name)?;
        let is_call = command.args.is_empty() && !matches!(&*command.name, "restart" | "events");
        if is_call {
            return self.call(&words);
        }
        let mut arguments = command.consume_args();
        let output = match command.name.as_str() {
            "advance" => {
                let duration = arguments.next_pos().ok_or("how far? `advance 10s`")?;
                let fired = self.host.advance(humantime::parse_duration(duration)?);
                match fired {
                    0 => "no timers".into(),
                    1 => "1 timer".into(),
                    fired => format!("{fired} timers"),
                }
            }
            "restart" => {
                self.host.restart();
                String::new()
            }
            "events" => {
                let events = self.host.events().into_iter();
                let lines = events
                    .map(|event| format!("{} \"{}\"", event.topic, event.payload.escape_ascii()));
                lines.collect::<Vec<_>>().join("\n")
            }
            other => {
                return Err(format!("no `{other}`: advance, restart, events, or `> call`").into());
            }
        };
        arguments.reject_next()?;
        Ok(output)
    }
}

impl Story {
    fn call(&mut self, words: &[Vec<u8>]) -> Result<String, Box<dyn Error>> {
        let (name, arguments) = words.split_first().ok_or("no command behind `>`")?;
        let arguments: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
        let outcome = self.host.call_bytes(str::from_utf8(name)?, &arguments);
        Ok(show(&outcome))
    }
}
