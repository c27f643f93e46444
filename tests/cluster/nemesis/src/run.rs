//! A run from its seed to its report.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use crate::check;
use crate::fault::Kind;
use crate::field::{Field, PATIENCE};
use crate::meter::Ending;
use crate::options::Options;
use crate::random::Random;
use crate::report::{self, Tally};
use crate::schedule::{Episode, Schedule};
use crate::timeline::Timeline;
use crate::workload::{self, Workloads};
use crate::world::World;

/// Answered calls that show that the cluster makes progress again.
const PROGRESS: u64 = 50;

/// Runs, and reports. Fails when anything was seen that must not be.
pub(crate) fn run(options: &Options, world: World) -> Result<()> {
    let seed = match options.seed {
        Some(seed) => seed,
        None => getrandom::u64().context("no random bytes for a seed")? >> 32,
    };
    let kinds = chosen(options, world)?;
    let names: Vec<String> = kinds.iter().map(|kind| kind.name()).collect();
    println!(
        "seed {seed}, {} nodes, faults {}",
        options.nodes,
        names.join(",")
    );
    let directory = tempfile::Builder::new()
        .prefix("hostd-nemesis-")
        .tempdir()?;
    let timeline = Timeline::start(options.duration());
    let interrupted = listen_for_interrupts()?;

    let mut run = Run {
        timeline: timeline.clone(),
        interrupted,
        tallies: BTreeMap::new(),
        field: None,
        workloads: None,
    };
    let told = catch_unwind(AssertUnwindSafe(|| {
        run.tell(options, world, seed, &kinds, directory.path())
    }));
    let told = told.unwrap_or_else(|_| Err(anyhow!("the nemesis itself panicked; see above")));
    timeline.finish();
    if let Some(workloads) = &run.workloads {
        report::print(&run.tallies, &workloads.shared.meter);
    }
    let again = format!(
        "cargo xtask nemesis --seed {seed} --minutes {:.1} --nodes {} --faults {}",
        options.duration().as_secs_f64() / 60.0,
        options.nodes,
        names.join(",")
    );
    let Err(error) = told else {
        println!("seed {seed}: no violation");
        if options.keep {
            run.keep(directory);
        } else {
            run.tidy(directory)?;
        }
        return Ok(());
    };
    println!("\nTimeline of seed {seed}:\n{}", timeline.text());
    println!("VIOLATION: {error:#}\n");
    run.timeline
        .note(format!("VIOLATION: {error:#}; again: {again}"));
    run.keep(directory);
    println!("the same faults again: {again}");
    bail!("seed {seed}: a violation")
}

/// The faults that were asked for and can be injected here. Says which cannot.
fn chosen(options: &Options, world: World) -> Result<Vec<Kind>> {
    let asked = if options.faults.is_empty() {
        Kind::ALL
    } else {
        &options.faults
    };
    let mut kinds = Vec::new();
    for kind in asked {
        match kind.hindrance(world) {
            None => kinds.push(*kind),
            Some(why) => println!("left out: {}: {why}", kind.name()),
        }
    }
    ensure!(!kinds.is_empty(), "no fault is left");
    Ok(kinds)
}

/// Ctrl-C ends the faults early, the checks are made all the same; a second one ends it all.
fn listen_for_interrupts() -> Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let flag = interrupted.clone();
    std::thread::spawn(move || {
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let (Ok(mut interrupt), Ok(mut terminate)) = (
                signal(SignalKind::interrupt()),
                signal(SignalKind::terminate()),
            ) else {
                return;
            };
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if flag.swap(true, Ordering::Relaxed) {
                    std::process::exit(130);
                }
            }
        });
    });
    Ok(interrupted)
}

struct Run {
    timeline: Timeline,
    interrupted: Arc<AtomicBool>,
    tallies: BTreeMap<Kind, Tally>,
    // Clients end before their cluster.
    workloads: Option<Workloads>,
    field: Option<Field>,
}

impl Run {
    fn tell(
        &mut self,
        options: &Options,
        world: World,
        seed: u64,
        kinds: &[Kind],
        directory: &Path,
    ) -> Result<()> {
        let timeline = self.timeline.clone();
        let field = Field::start(directory, world, options.nodes, kinds, &timeline)?;
        let mut field = self.field.insert(field);
        let workloads = Workloads::start(field.addresses(), &field.cluster.pki(), seed)?;
        let mut workloads = self.workloads.insert(workloads);
        progress(field, workloads)?;
        timeline.note("all clients are served");
        let start = timeline.elapsed();
        for episode in Schedule::new(seed, kinds) {
            let over = timeline.elapsed() >= start + options.duration();
            if over || self.interrupted.load(Ordering::Relaxed) {
                break;
            }
            self.play(&episode)
                .with_context(|| format!("episode {}: {:?}", episode.number, episode.faults))?;
            (field, workloads) = (
                self.field.as_mut().context("there is a field")?,
                self.workloads.as_mut().context("there are clients")?,
            );
            field.wait(episode.calm)?;
        }
        timeline.note("no more faults; every client makes its last call");
        field.put_clocks_ahead()?;
        workloads.finish()?;
        let (checkpoint, digest) = field.cluster.compare_digests()?;
        timeline.note(format!(
            "all nodes have digest {digest} at checkpoint {checkpoint}"
        ));
        field.cluster.stop().context("the nodes stop in order")?;
        timeline.note("checking the histories");
        let summary = check::check(&workloads.shared.records, kinds, directory)?;
        timeline.note(summary);
        Ok(())
    }

    /// One episode: injects, waits, heals, and waits until the cluster is healthy.
    fn play(&mut self, episode: &Episode) -> Result<()> {
        let (Some(field), Some(workloads)) = (&mut self.field, &mut self.workloads) else {
            bail!("nothing runs");
        };
        let timeline = field.timeline.clone();
        workloads.shared.meter.longest_of_episode();
        let mut going_on = Vec::new();
        let mut injected = Ok(());
        for (kind, seed) in &episode.faults {
            self.tallies.entry(*kind).or_default().injected += 1;
            let mut fault = kind.prepare();
            let what = fault.inject(field, &mut Random::new(*seed));
            going_on.push(fault);
            match what {
                Ok(what) => timeline.note(format!("{}: {}: {what}", episode.number, kind.name())),
                Err(error) => {
                    injected = Err(error).with_context(|| kind.name());
                    break;
                }
            }
            show(field, workloads, &episode.faults);
        }
        injected?;
        let end = timeline.elapsed() + episode.hold;
        while timeline.elapsed() < end {
            field.wait(Duration::from_millis(100))?;
            workloads.look()?;
            show(field, workloads, &episode.faults);
        }
        for fault in going_on.iter_mut().rev() {
            fault.heal(field)?;
        }
        let healthy = field.wait_healthy()?;
        let served = progress(field, workloads)?;
        field.forgive_full_disks();
        let silent = workloads.shared.meter.longest_of_episode();
        for (kind, _) in &episode.faults {
            let tally = self.tallies.entry(*kind).or_default();
            tally.silent = tally.silent.max(silent);
            tally.healing = tally.healing.max(healthy + served);
        }
        timeline.note(format!(
            "{}: healed; healthy after {} ms, nobody was served for {} ms at most",
            episode.number,
            healthy.as_millis(),
            silent.as_millis()
        ));
        Ok(())
    }

    /// Leaves nothing.
    fn tidy(&mut self, directory: tempfile::TempDir) -> Result<()> {
        self.workloads = None;
        if let Some(mut field) = self.field.take() {
            field.disks.release_all();
        }
        directory.close().context("the directory of the run")
    }

    /// Keeps the directory with what is in it, and says where.
    fn keep(&mut self, directory: tempfile::TempDir) {
        if let Some(field) = &mut self.field {
            for id in field.cluster.ids() {
                if let Ok(node) = field.cluster.node(id) {
                    let _ = node.kill();
                }
            }
            if let Err(error) = field.disks.save() {
                eprintln!("what was on disks in memory is lost: {error:#}");
            }
        }
        let path = directory.keep();
        let _ = std::fs::write(path.join("timeline.txt"), self.timeline.text());
        println!("data directories and logs are kept in {}", path.display());
    }
}

/// Waits until clients of every workload are answered again. Returns how long that took.
fn progress(field: &mut Field, workloads: &mut Workloads) -> Result<Duration> {
    let start = field.timeline.elapsed();
    let shared = workloads.shared.clone();
    let count = |kind| shared.meter.of(kind, Ending::Ok);
    let goals = workload::Kind::ALL.map(|kind| (kind, count(kind) + 2));
    let total = shared.meter.total(Ending::Ok) + PROGRESS;
    loop {
        let waited = field.timeline.elapsed().saturating_sub(start);
        let missing: Vec<&str> = goals
            .iter()
            .filter(|(kind, goal)| count(*kind) < *goal)
            .map(|(kind, _)| kind.name())
            .collect();
        if missing.is_empty() && shared.meter.total(Ending::Ok) >= total {
            return Ok(waited);
        }
        ensure!(
            waited < PATIENCE,
            "the cluster is healthy and clients are not served after {} s: {}",
            waited.as_secs(),
            missing.join(", ")
        );
        field.wait(Duration::from_millis(50))?;
        workloads.look()?;
    }
}

fn show(field: &Field, workloads: &Workloads, faults: &[(Kind, u64)]) {
    let names: Vec<String> = faults.iter().map(|(kind, _)| kind.name()).collect();
    let meter = &workloads.shared.meter;
    field.timeline.status(format!(
        "{}  ok {}  refused {}  unknown {}  silent for {:.1} s",
        names.join(" + "),
        meter.total(Ending::Ok),
        meter.total(Ending::Refused),
        meter.total(Ending::Unknown),
        meter.silent().as_secs_f64()
    ));
}
