//! Many runs, each in a process of its own, so that none can disturb another and one that hangs or
//! crashes is known by its seed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressStyle};

use crate::run::Outcome;

/// A run takes seconds; one that takes this long hangs.
const RUN_MAX: Duration = Duration::from_mins(5);

/// Between two looks at what runs.
const LOOK: Duration = Duration::from_millis(10);

/// What to run.
#[derive(Clone, Debug)]
pub(crate) struct Campaign {
    /// The first seed; the others follow.
    pub(crate) first: u64,
    /// How many, if that is bounded.
    pub(crate) count: Option<u64>,
    /// For how long to begin new ones, if that is bounded.
    pub(crate) time: Option<Duration>,
    /// How many at the same time.
    pub(crate) jobs: usize,
    /// Stop at the first run that fails.
    pub(crate) fail_fast: bool,
    /// What else to tell each run.
    pub(crate) flags: Vec<String>,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Summary {
    /// Runs that ended.
    pub(crate) runs: u64,
    /// Simulated time.
    pub(crate) simulated_ms: u64,
    /// How often things happened, in all runs.
    pub(crate) counts: BTreeMap<String, u64>,
    /// Runs that broke a promise, by seed.
    pub(crate) failures: Vec<Outcome>,
}

struct Running {
    seed: u64,
    child: Child,
    began: Instant,
    output: PathBuf,
}

impl Campaign {
    /// Runs them all.
    pub(crate) fn run(&self) -> Result<Summary> {
        let directory = tempfile::tempdir()?;
        let bar = self.bar();
        let began = Instant::now();
        let mut summary = Summary::default();
        let mut next = 0;
        let mut running: Vec<Running> = Vec::new();
        loop {
            let wanted = self.count.is_none_or(|count| next < count)
                && self.time.is_none_or(|time| began.elapsed() < time)
                && (!self.fail_fast || summary.failures.is_empty());
            if wanted && running.len() < self.jobs {
                let seed = self.first + next;
                next += 1;
                running.push(Running::begin(seed, &self.flags, directory.path())?);
                continue;
            }
            if running.is_empty() {
                break;
            }
            let mut position = 0;
            while position < running.len() {
                if let Some(outcome) = running[position].ended()? {
                    running.remove(position);
                    summary.add(outcome, &bar);
                } else {
                    position += 1;
                }
            }
            if let Some(time) = self.time {
                bar.set_position(began.elapsed().min(time).as_secs());
            } else {
                bar.set_position(summary.runs);
            }
            std::thread::sleep(LOOK);
        }
        bar.finish_and_clear();
        // Several run at the same time, and any may end first.
        summary.failures.sort_by_key(|failure| failure.seed);
        Ok(summary)
    }

    fn bar(&self) -> ProgressBar {
        let (length, shape) = match (self.time, self.count) {
            (Some(time), _) => (Some(time.as_secs()), "{bar:30} {elapsed} of {len} s  {msg}"),
            (None, Some(count)) => (Some(count), "{bar:30} {pos}/{len} seeds  {elapsed}  {msg}"),
            (None, None) => (None, "{spinner} {pos} seeds  {elapsed}  {msg}"),
        };
        let bar = length.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
        if let Ok(style) = ProgressStyle::with_template(shape) {
            bar.set_style(style);
        }
        bar
    }
}

/// Runs one seed, in a process of its own as well.
pub(crate) fn run_one(seed: u64, flags: &[String]) -> Result<Outcome> {
    let directory = tempfile::tempdir()?;
    let mut running = Running::begin(seed, flags, directory.path())?;
    loop {
        if let Some(outcome) = running.ended()? {
            return Ok(outcome);
        }
        std::thread::sleep(LOOK);
    }
}

impl Running {
    fn begin(seed: u64, flags: &[String], directory: &Path) -> Result<Self> {
        let output = directory.join(format!("{seed}.json"));
        let child = Command::new(std::env::current_exe()?)
            .args(["one", "--seed", &seed.to_string()])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(&output)?)
            .stderr(std::fs::File::create(output.with_extension("err"))?)
            .spawn()
            .context("a run does not start")?;
        Ok(Self {
            seed,
            child,
            began: Instant::now(),
            output,
        })
    }

    /// How it went, once it has ended.
    fn ended(&mut self) -> Result<Option<Outcome>> {
        let failed = |reason: String| Outcome {
            seed: self.seed,
            violation: Some(reason),
            check: Some("simulator".into()),
            trace: String::new(),
            simulated_ms: 0,
            counts: BTreeMap::new(),
            events: Vec::new(),
            lines: Vec::new(),
        };
        let Some(status) = self.child.try_wait()? else {
            if self.began.elapsed() < RUN_MAX {
                return Ok(None);
            }
            self.child.kill()?;
            self.child.wait()?;
            return Ok(Some(failed(format!("no end after {RUN_MAX:?}"))));
        };
        let text = std::fs::read_to_string(&self.output)?;
        let errors = std::fs::read_to_string(self.output.with_extension("err"))?;
        std::fs::remove_file(&self.output)?;
        Ok(Some(serde_json::from_str(&text).unwrap_or_else(|_| {
            failed(format!("the run's process ended with {status}: {errors}"))
        })))
    }
}

impl Summary {
    fn add(&mut self, outcome: Outcome, bar: &ProgressBar) {
        self.runs += 1;
        self.simulated_ms += outcome.simulated_ms;
        for (what, times) in &outcome.counts {
            *self.counts.entry(what.clone()).or_default() += times;
        }
        if let Some(violation) = &outcome.violation {
            bar.println(format!("seed {}: {violation}", outcome.seed));
            self.failures.push(outcome);
        }
        bar.set_message(format!("{} failed", self.failures.len()));
    }
}
