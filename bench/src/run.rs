//! One run: what was asked for, in order, into one report.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::case::{Case, Contender};
use crate::machine::{self, Machine, load_average};
use crate::options::{Options, Scenario, System};
use crate::progress::say;
use crate::report::Report;
use crate::rounds::{self, Systems};
use crate::sample::Series;
use crate::scenario::{self, failover, idle, memory};
use crate::system::hostd::{Binaries, Hostd, NODES};
use crate::system::{etcd, redis};
use crate::{fsync, paths, target};

/// Writes of a thorough look at the disk.
const FSYNC_WRITES: usize = 1_000;

/// Above this share of the CPUs, others disturb the figures.
const DISTURBING_SHARE: f64 = 0.05;

/// Runs what the options ask for.
pub(crate) async fn run(options: &Options) -> Result<Report> {
    let binaries = if options.includes(System::Hostd) {
        Some(Binaries::find(options)?)
    } else {
        None
    };
    let binaries = binaries.as_ref();
    let base = options
        .dir
        .clone()
        .unwrap_or_else(|| paths::target().join("bench"));
    fs::create_dir_all(&base).with_context(|| format!("create {}", base.display()))?;
    let dir = tempfile::Builder::new()
        .prefix("run-")
        .tempdir_in(base.canonicalize()?)?;
    let machine = Machine::describe(dir.path());
    ensure!(
        !machine::is_memory(&machine.filesystem),
        "{} is in memory, where nothing reaches a disk; name a directory on a disk with --dir",
        base.display()
    );
    let fsync_before = fsync::measure(dir.path(), FSYNC_WRITES).await?;
    let mut notes = notes();
    let (idle, memory) = quiet(options, binaries, dir.path()).await?;
    let loads = loads(options, binaries, dir.path(), &mut notes).await?;
    let failover = failover(options, binaries, dir.path()).await?;
    notes.extend(disturbances(&loads));

    let mut checks = target::of_loads(&loads);
    checks.extend(failover.iter().flat_map(target::of_failover));
    checks.extend(idle.iter().flat_map(target::of_idle));
    checks.extend(memory.iter().flat_map(target::of_memory));
    Ok(Report {
        command: command(),
        machine,
        load_after: load_average(),
        fsync_before,
        fsync_after: fsync::measure(dir.path(), FSYNC_WRITES).await?,
        checks,
        loads,
        failover,
        idle,
        memory,
        notes,
    })
}

/// What is measured while nothing else runs.
async fn quiet(
    options: &Options,
    binaries: Option<&Binaries>,
    base: &Path,
) -> Result<(Option<idle::Idle>, Option<memory::Memory>)> {
    let mut results = (None, None);
    let Some(binaries) = binaries else {
        return Ok(results);
    };
    if options.wants(Scenario::Idle) {
        say("an idle cluster");
        let dir = own(base)?;
        let watch = Duration::from_secs(if options.quick { 5 } else { 30 });
        results.0 = Some(
            idle::run(binaries, dir.path(), watch)
                .await
                .context("idle")?,
        );
    }
    if options.wants(Scenario::Memory) {
        let commands = if options.quick { 100_000 } else { 1_000_000 };
        say(&format!("memory over {commands} writes"));
        let dir = own(base)?;
        let memory = memory::run(binaries, dir.path(), commands).await;
        results.1 = Some(memory.context("memory")?);
    }
    Ok(results)
}

/// All loads, on all systems.
async fn loads(
    options: &Options,
    binaries: Option<&Binaries>,
    base: &Path,
    notes: &mut Vec<String>,
) -> Result<Vec<Series>> {
    let cases = scenario::cases(options);
    let concerns = |of: &[Contender]| cases.iter().any(|case| of.contains(&case.contender));
    let mut systems = Systems::default();
    let dir = own(base)?;
    if let Some(binaries) = binaries
        && concerns(&[
            Contender::Hostd,
            Contender::HostdApart,
            Contender::HostdFollower,
            Contender::HostdResp,
        ])
    {
        systems.hostd = Some(filled(binaries, &sub(&dir, "hostd")?, NODES).await?);
    }
    if let Some(binaries) = binaries
        && concerns(&[Contender::HostdRespAlone])
    {
        systems.alone = Some(filled(binaries, &sub(&dir, "alone")?, 1).await?);
    }
    for (contender, cluster) in [
        (Contender::HostdResp, &systems.hostd),
        (Contender::HostdRespAlone, &systems.alone),
    ] {
        if let Some(cluster) = cluster
            && concerns(&[contender])
            && let Some(benchmark) = kept(cluster.benchmark().await, "redis-benchmark", notes)
        {
            systems.benchmarks.insert(contender, benchmark);
        }
    }
    if concerns(&[Contender::Etcd, Contender::EtcdApart]) {
        say("starting etcd");
        let started = match etcd::Tools::find() {
            Ok(tools) => etcd::Etcd::start(&tools, &sub(&dir, "etcd")?).await,
            Err(missing) => Err(missing),
        };
        systems.etcd = kept(started, "etcd", notes);
    }
    if concerns(&[Contender::Redis]) {
        say("starting Redis");
        let started = match redis::Tools::find() {
            Ok(tools) => redis::Redis::start(&tools, &sub(&dir, "redis")?).await,
            Err(missing) => Err(missing),
        };
        systems.redis = kept(started, "Redis", notes);
    }
    if let Some(etcd) = &systems.etcd {
        say(&format!("etcd runs as {:?}", etcd.pids()));
        notes.push(format!("etcd: {}, three nodes, no TLS.", etcd.version));
    }
    if let Some(redis) = &systems.redis {
        say(&format!("Redis runs as {:?}", redis.pids()));
        notes.push(format!("Redis: {}, one node.", redis.version));
    }
    rounds::run(&systems, &cases, options, dir.path()).await
}

/// So many nodes with every key in them.
async fn filled(binaries: &Binaries, dir: &Path, nodes: usize) -> Result<Hostd> {
    say("starting hostd");
    let hostd = Hostd::start(binaries, dir, nodes).await?;
    hostd.fill().await?;
    say(&format!("hostd runs as {:?}", hostd.pids()));
    Ok(hostd)
}

async fn failover(
    options: &Options,
    binaries: Option<&Binaries>,
    base: &Path,
) -> Result<Option<failover::Failover>> {
    let Some(binaries) = binaries.filter(|_| options.wants(Scenario::Failover)) else {
        return Ok(None);
    };
    say("killing leaders");
    let dir = own(base)?;
    let repetitions = if options.quick { 2 } else { 5 };
    let failover = failover::run(binaries, dir.path(), repetitions).await;
    Ok(Some(failover.context("failover")?))
}

/// A comparison that cannot be made is left out, and the results say why.
fn kept<T>(started: Result<T>, name: &str, notes: &mut Vec<String>) -> Option<T> {
    match started {
        Ok(system) => Some(system),
        Err(error) => {
            let note = format!("No comparison with {name}: {error:#}.");
            say(&note);
            notes.push(note);
            None
        }
    }
}

/// A directory for one scenario, which goes when the scenario ends.
fn own(base: &Path) -> Result<TempDir> {
    Ok(tempfile::tempdir_in(base)?)
}

fn sub(dir: &TempDir, name: &str) -> Result<std::path::PathBuf> {
    let path = dir.path().join(name);
    fs::create_dir(&path)?;
    Ok(path)
}

/// The command line as one would type it.
fn command() -> String {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    ["cargo xtask bench".to_owned()]
        .into_iter()
        .chain(arguments)
        .collect::<Vec<_>>()
        .join(" ")
}

fn notes() -> Vec<String> {
    [
        "Everything runs on the same CPUs: three nodes and the clients. hostd: mutual TLS, fsync \
         on, defaults. 64×16 is 64 clients with 16 requests in flight each; Redis has its \
         benchmark's 50 clients, each with a connection.",
        "Figures are medians over rounds in which the systems take turns; ratios are medians of \
         each round's ratio. CPU µs is CPU time per request, over all servers together and in the \
         load generator.",
        "The disk's own fsync is the median of a 4 KiB write and fdatasync into a file whose \
         blocks exist; for the ratios it is measured right before and after each load of one \
         request at a time.",
        "Clients of hostd and of etcd share as many connections as suit each load best, found by \
         trial among 1, 8 and 64 for each system, unless a row says `a connection each`; they go \
         to the leader. Redis runs without snapshots and rewrites of its log.",
        "Through a follower, the client library is held at that node by its one-shot mode, whose \
         writes carry idempotency keys instead of session numbers.",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// What went wrong or was not quiet during the loads.
fn disturbances(loads: &[Series]) -> Vec<String> {
    let mut notes = Vec::new();
    let samples = || loads.iter().flat_map(|series| &series.rounds);
    let foreign = samples()
        .map(|sample| sample.foreign_share)
        .fold(0.0, f64::max);
    if foreign > DISTURBING_SHARE {
        notes.push(format!(
            "The machine was not quiet: others used up to {:.0} % of its CPUs during a \
             measurement. Absolute figures are too low.",
            foreign * 100.0
        ));
    }
    for series in loads {
        let Case {
            work,
            shape,
            contender,
        } = series.case;
        let errors: u64 = series.rounds.iter().map(|sample| sample.errors).sum();
        let first = series
            .rounds
            .iter()
            .find(|sample| !sample.first_error.is_empty());
        if let Some(first) = first {
            notes.push(format!(
                "{} {shape} on {}: {errors} requests failed, the first with `{}`.",
                work.name(),
                contender.name(),
                first.first_error
            ));
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Sample;
    use crate::sample::tests::series;
    use crate::shape::Shape;
    use crate::system::Work;

    #[test]
    fn failures_and_foreign_load_are_told() {
        let mut load = series(Case::hostd(Work::Set, Shape::MANY), &[1.0, 2.0]);
        assert!(disturbances(std::slice::from_ref(&load)).is_empty());
        load.rounds.push(Sample {
            errors: 3,
            first_error: "overloaded".into(),
            foreign_share: 0.25,
            ..Sample::default()
        });
        let notes = disturbances(&[load]).join("\n");
        assert!(notes.contains("25 %"), "{notes}");
        assert!(notes.contains("3 requests failed") && notes.contains("overloaded"));
    }

    #[test]
    fn a_missing_system_is_left_out_with_its_reason() {
        let mut notes = Vec::new();
        let missing = Err(anyhow::anyhow!("install etcd-server"));
        assert!(kept::<()>(missing, "etcd", &mut notes).is_none());
        assert!(notes[0].contains("install etcd-server"));
    }
}
