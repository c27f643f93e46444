//! `hostctl plugin test`: golden scripts in the machine of this process, which is a node's. It
//! does what `cargo test` does with `hostd_testing::scripts!`, without compiling the machine.

use std::io::{self, IsTerminal as _, Write};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};

use hostd_testing::{Transcript, run_script, scripts_in};
use serde_json::{Value, json};
use similar::TextDiff;
use tracing_subscriber::EnvFilter;

use super::check::Report;
use super::package;
use crate::args::{Format, Global};
use crate::exit::Exit;
use crate::output;

/// Where a crate has its scripts.
const SCRIPTS: &str = "tests/scripts";

/// How a script's file is called.
const EXTENSION: &str = "script";

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hostctl plugin test
  hostctl plugin test ~/votes
  hostctl plugin test . votes_are_counted      only this script
  hostctl plugin test --bless                  write what happens now into the scripts

A script is a story in tests/scripts/NAME.script: calls behind `>`, `advance 1h`, `restart` and \
`events`, and behind `---` what comes of them. Exit code 1: one came out otherwise than written.

The JSON is {\"ok\": …, \"scripts\": [{\"name\", \"ok\", \"blessed\", \"error\", \"diff\"}]}.")]
pub(crate) struct Test {
    /// The crate's directory
    #[arg(value_name = "DIR", default_value = ".")]
    directory: PathBuf,

    /// Scripts, by name or file; all of tests/scripts when none is named
    #[arg(value_name = "SCRIPT")]
    scripts: Vec<PathBuf>,

    /// Write what happens now into the scripts that come out otherwise, for review
    #[arg(long)]
    bless: bool,
}

pub(super) fn run(global: &Global, arguments: Test) -> Result<(), Exit> {
    let scripts = chosen(&arguments)?;
    let plugin = package::build(&arguments.directory, true)?;
    let report = Report::of(&plugin.component)?;
    let file = Path::new(&plugin.name);
    if report.verdict(file).is_err() {
        report.print(global.output, file)?;
        return report.verdict(file);
    }
    show_plugins_log();

    let mut tested = Vec::new();
    for script in scripts {
        let outcome = run_one(&plugin.component, &script, arguments.bless)?;
        let one = Tested { script, outcome };
        if global.output == Format::Text {
            one.print()?;
        }
        tested.push(one);
    }
    let failed = tested.iter().filter(|one| one.has_failed()).count();
    match global.output {
        Format::Json => output::json(&json!({
            "ok": failed == 0,
            "scripts": tested.iter().map(Tested::to_json).collect::<Vec<_>>(),
        }))?,
        Format::Text => {
            output::line(&format!(
                "{} passed, {failed} failed",
                tested.len() - failed
            ))?;
        }
    }
    if failed == 0 {
        return Ok(());
    }
    Err(Exit::Failed(format!(
        "{failed} of {} scripts did not come out as written; where what happens now is right, --bless writes it down",
        tested.len()
    )))
}

/// The files of the scripts to run.
fn chosen(arguments: &Test) -> Result<Vec<PathBuf>, Exit> {
    let directory = match arguments.directory.to_str() {
        // Shown as one would type it.
        Some(".") => PathBuf::from(SCRIPTS),
        _ => arguments.directory.join(SCRIPTS),
    };
    let shown = directory.display();
    let all = scripts_in(&directory).map_err(|error| {
        Exit::Usage(format!(
            "cannot read {shown}: {error}; the first argument is the crate's directory, and golden scripts are in its {SCRIPTS}"
        ))
    })?;
    if all.is_empty() {
        return Err(Exit::Usage(format!(
            "there are no scripts (*.{EXTENSION}) in {shown}"
        )));
    }
    if arguments.scripts.is_empty() {
        return Ok(all);
    }
    let find = |wanted: &PathBuf| {
        let named = directory.join(wanted).with_extension(EXTENSION);
        let found = [wanted.clone(), named]
            .into_iter()
            .find(|file| file.is_file());
        found.ok_or_else(|| {
            let names: Vec<_> = all.iter().map(|file| name(file)).collect();
            Exit::Usage(format!(
                "there is no script {}; there are: {}",
                wanted.display(),
                names.join(", ")
            ))
        })
    };
    arguments.scripts.iter().map(find).collect()
}

fn name(script: &Path) -> String {
    let stem = script.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

/// One script and how it went.
struct Tested {
    script: PathBuf,
    outcome: Outcome,
}

enum Outcome {
    Passed,
    /// It came out otherwise, which is now written down.
    Blessed,
    /// It came out otherwise; how.
    Different(String),
    /// It could not be run to its end; why.
    Broken(String),
}

fn run_one(component: &[u8], script: &Path, bless: bool) -> Result<Outcome, Exit> {
    let run = || run_script(component, script);
    let transcript = match std::panic::catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(transcript)) => transcript,
        Ok(Err(error)) => return Ok(Outcome::Broken(error.to_string())),
        // The message is on standard error.
        Err(_) => return Ok(Outcome::Broken("it cannot go on (see above)".into())),
    };
    if transcript.now == transcript.written {
        return Ok(Outcome::Passed);
    }
    if bless {
        std::fs::write(script, transcript.now)?;
        return Ok(Outcome::Blessed);
    }
    Ok(Outcome::Different(diff(script, &transcript)))
}

fn diff(script: &Path, transcript: &Transcript) -> String {
    TextDiff::from_lines(&transcript.written, &transcript.now)
        .unified_diff()
        .context_radius(3)
        .header(&script.display().to_string(), "what happens now")
        .to_string()
}

impl Tested {
    fn has_failed(&self) -> bool {
        matches!(self.outcome, Outcome::Different(_) | Outcome::Broken(_))
    }

    fn print(&self) -> io::Result<()> {
        let mut out = output::stdout();
        let name = name(&self.script);
        match &self.outcome {
            Outcome::Passed => writeln!(out, "passed   {name}")?,
            Outcome::Blessed => writeln!(out, "blessed  {name}")?,
            Outcome::Different(diff) => write!(out, "FAILED   {name}\n{diff}")?,
            Outcome::Broken(error) => writeln!(out, "FAILED   {name}\n{error}")?,
        }
        out.flush()
    }

    fn to_json(&self) -> Value {
        let (diff, error) = match &self.outcome {
            Outcome::Different(diff) => (Some(diff), None),
            Outcome::Broken(error) => (None, Some(error)),
            Outcome::Passed | Outcome::Blessed => (None, None),
        };
        json!({
            "name": name(&self.script),
            "ok": !self.has_failed(),
            "blessed": matches!(self.outcome, Outcome::Blessed),
            "diff": diff,
            "error": error,
        })
    }
}

/// What plugins log, and why they panic, goes to standard error. `RUST_LOG` says how much.
fn show_plugins_log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // Nobody else sets one in this program.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .without_time()
        .try_init();
}
