//! States that take a while to migrate. `HOSTD_STORY_KEYS` says how many keys they have.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cluster_tests::{Cluster, PATIENCE, wait_for, wait_for_value};

use crate::live_plugins::{file_ok, fixture, show};
use crate::support::{Load, connect, runtime, story};

/// Keys, unless the environment says otherwise: enough for a migration of a hundred steps.
const KEYS: u32 = 100_000;

/// Keys that one command makes.
const BATCH: u32 = 10_000;

/// How long a million keys may take on a machine with other things to do.
const MIGRATION_PATIENCE: Duration = Duration::from_mins(10);

fn keys() -> Result<u32> {
    std::env::var("HOSTD_STORY_KEYS").map_or(Ok(KEYS), |keys| {
        keys.parse().context("HOSTD_STORY_KEYS is a number")
    })
}

/// Makes keys with this beginning.
fn fill(cluster: &Cluster, prefix: &str, keys: u32) -> Result<()> {
    let hostctl = cluster.hostctl().timeout("40s");
    for first in (0..keys).step_by(BATCH as usize) {
        let count = BATCH.min(keys - first).to_string();
        hostctl.call(&["fill", prefix, &first.to_string(), &count])?;
    }
    Ok(())
}

/// Asks for an upgrade, and leaves the migration to the cluster.
fn begin_upgrade(cluster: &Cluster, name: &str) -> Result<String> {
    let file = fixture(name)?;
    let words = ["plugin", "upgrade", "--no-wait", &file.to_string_lossy()];
    cluster.hostctl().timeout("60s").ok(words)
}

/// Waits until no migration is under way.
fn wait_migrated(cluster: &Cluster) -> Result<()> {
    wait_for("the migration has ended", MIGRATION_PATIENCE, || {
        show(cluster, "tally").is_ok_and(|tally| tally["migration"].is_null())
    })?;
    Ok(())
}

/// A client that goes on to count with the plugin whose state is migrated.
struct Counting {
    stopping: Arc<AtomicBool>,
    thread: JoinHandle<Result<(i64, Duration)>>,
}

impl Counting {
    fn start(cluster: &Cluster) -> Result<Self> {
        let runtime = runtime()?;
        let client = runtime.block_on(connect(cluster))?;
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopping);
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                let (mut counted, mut longest) = (0, Duration::ZERO);
                // Names all over the key space: some are migrated already, others are not.
                let names = ["a", "a5", "m", "z"];
                while !stop.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    let name = names[counted as usize % names.len()];
                    client
                        .call("count", [&format!("{name}/counted"), "1"])
                        .await?;
                    longest = longest.max(began.elapsed());
                    counted += 1;
                }
                client.close().await;
                Ok((counted, longest))
            })
        });
        Ok(Self { stopping, thread })
    }

    /// Stops, and checks that each of its calls counted once. The longest of them.
    fn stop(self, cluster: &Cluster) -> Result<Duration> {
        self.stopping.store(true, Ordering::Relaxed);
        let ended = self.thread.join();
        let (counted, longest) = ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let mut found = 0;
        for name in ["a", "a5", "m", "z"] {
            let total = cluster
                .hostctl()
                .call(&["total", &format!("{name}/counted")])?;
            found += total.parse().unwrap_or(0);
        }
        ensure!(found == counted, "{counted} calls counted {found}");
        Ok(longest)
    }
}

fn peak_memory_mib(cluster: &Cluster) -> Result<u64> {
    let peaks: Vec<u64> = cluster
        .nodes()
        .map(cluster_tests::Node::peak_memory_kib)
        .collect::<Result<_>>()?;
    Ok(peaks.into_iter().max().unwrap_or_default() >> 10)
}

#[test]
fn writes_and_other_plugins_go_on_while_many_keys_are_migrated() {
    story(3, |cluster| {
        let keys = keys()?;
        file_ok(cluster, "install", &fixture("tally")?)?;
        let began = Instant::now();
        fill(cluster, "a", keys)?;
        let filled = began.elapsed();
        let load = Load::start(cluster)?;
        let counting = Counting::start(cluster)?;
        let began = Instant::now();
        begin_upgrade(cluster, "tally-keys")?;
        wait_migrated(cluster)?;
        let migrated = began.elapsed();
        let longest = counting.stop(cluster)?;
        let record = load.stop()?;
        println!(
            "{keys} keys: filled in {} ms, migrated in {} ms; longest write to the plugin {} ms, to others \
             {} ms; most memory of a node {} MiB",
            filled.as_millis(),
            migrated.as_millis(),
            longest.as_millis(),
            record.longest_call.as_millis(),
            peak_memory_mib(cluster)?
        );
        let tally = show(cluster, "tally")?;
        ensure!(tally["description"]["version"] == "2.0.0", "{tally:#}");
        ensure!(tally["keys"] == keys + 4, "{tally:#}");
        let hostctl = cluster.hostctl();
        for number in [0, 1, keys / 2, keys - 1] {
            ensure!(hostctl.call(&["total", &format!("a{number}")])? == "1");
        }
        record.check(cluster)
    });
}

#[test]
fn a_migration_that_traps_half_way_leaves_nothing_behind() {
    story(3, |cluster| {
        let keys = keys()?;
        file_ok(cluster, "install", &fixture("tally")?)?;
        // `trap` is in their middle.
        fill(cluster, "a", keys / 2)?;
        fill(cluster, "z", keys / 2)?;
        cluster.hostctl().call(&["count", "trap", "5"])?;
        let load = Load::start(cluster)?;
        let counting = Counting::start(cluster)?;
        let told = begin_upgrade(cluster, "tally-keys")?;
        ensure!(told.contains("is being migrated"), "{told}");
        wait_migrated(cluster)?;
        let tally = show(cluster, "tally")?;
        let failed = &tally["failed"];
        ensure!(
            failed["reason"]
                .as_str()
                .is_some_and(|reason| reason.contains("trapped") && reason.contains("n:trap")),
            "{tally:#}"
        );
        let passed = failed["keys"].as_u64().context("how far it came")?;
        ensure!(passed >= u64::from(keys / 2) - 1_000, "{tally:#}");
        counting.stop(cluster)?;
        load.stop()?.check(cluster)?;
        for id in cluster.ids() {
            let words = ["call", "--read", "stale", "version"];
            let version = cluster.hostctl_directly_at(id)?.ok(words)?;
            ensure!(version == "1.0.0", "node {id} runs {version}");
        }
        ensure!(cluster.hostctl().call(&["total", "trap"])? == "5");
        wait_idle(cluster)?;
        let tally = show(cluster, "tally")?;
        ensure!(tally["keys"] == keys + 5, "{tally:#}");
        cluster.compare_digests()?;
        Ok(())
    });
}

/// Waits until the cluster has nothing left to clear away: then nothing is logged any more.
fn wait_idle(cluster: &Cluster) -> Result<()> {
    let last = || {
        let rows = cluster.status().ok()?;
        rows.iter().map(|row| row.last_log).max()
    };
    wait_for_value("nothing is logged any more", 3 * PATIENCE, || {
        let before = last()?;
        std::thread::sleep(Duration::from_millis(500));
        (last()? == before).then_some(())
    })
}
