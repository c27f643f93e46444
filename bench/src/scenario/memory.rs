//! Resident memory of the nodes: with an empty state, and over many writes to few keys.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use serde::Serialize;
use tokio::time::sleep;

use crate::cpu;
use crate::load;
use crate::shape::Shape;
use crate::system::Work;
use crate::system::hostd::{Binaries, Hostd, NODES, Via};

/// Keys that are written again and again.
const KEYS: u64 = 1_000;

/// Parts of the load; memory is looked at after each.
const PARTS: u64 = 10;

/// What was seen, in MiB. Where there is one figure, it is that of the largest node.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Memory {
    /// With an empty state, at rest.
    pub(crate) empty_mib: f64,
    /// Writes.
    pub(crate) commands: u64,
    /// Memory of the largest node after each tenth of the writes.
    pub(crate) series_mib: Vec<f64>,
    /// Some seconds after the last write.
    pub(crate) after_mib: f64,
    /// The most there ever was.
    pub(crate) peak_mib: f64,
}

impl Memory {
    /// Growth from the second tenth of the writes, when buffers and caches have been filled once
    /// and the first checkpoints were made, to the last.
    pub(crate) fn growth_mib(&self) -> f64 {
        match self.series_mib[..] {
            [_, first, .., last] => last - first,
            _ => 0.0,
        }
    }
}

/// Starts a cluster in `dir` and writes.
pub(crate) async fn run(binaries: &Binaries, dir: &Path, commands: u64) -> Result<Memory> {
    let cluster = Hostd::start(binaries, dir, NODES).await?;
    let pids = cluster.pids();
    cpu::settle(&pids).await?;
    let (empty_mib, _) = largest(&cluster)?;

    let lanes = cluster
        .lanes(Work::Set, Shape::PIPELINED, 8, Via::Leader, KEYS)
        .await?;
    let answered = Arc::new(AtomicU64::new(0));
    let load = load::run_count(lanes, commands, Arc::clone(&answered));
    let watch = watch(&cluster, &answered, commands);
    let (errors, series_mib) = tokio::join!(load, watch);
    let errors = errors?;
    ensure!(errors == 0, "{errors} of {commands} writes failed");
    cpu::settle(&pids).await?;
    let (after_mib, peak_mib) = largest(&cluster)?;
    Ok(Memory {
        empty_mib,
        commands,
        series_mib: series_mib?,
        after_mib,
        peak_mib,
    })
}

/// Looks at the memory each time another tenth of the writes has been answered.
async fn watch(cluster: &Hostd, answered: &AtomicU64, commands: u64) -> Result<Vec<f64>> {
    let mut series = Vec::new();
    let mut last = (0, tokio::time::Instant::now());
    while (series.len() as u64) < PARTS {
        let now = answered.load(Ordering::Relaxed);
        if now >= commands * (series.len() as u64 + 1) / PARTS {
            series.push(largest(cluster)?.0);
        }
        if now != last.0 {
            last = (now, tokio::time::Instant::now());
        }
        ensure!(
            last.1.elapsed() < Duration::from_secs(30),
            "no write was answered for 30 s, after {now}"
        );
        sleep(Duration::from_millis(10)).await;
    }
    Ok(series)
}

/// Memory now and its peak, of the node that has most.
fn largest(cluster: &Hostd) -> Result<(f64, f64)> {
    let mut most = (0.0, 0.0);
    for (_, process) in cluster.processes() {
        let memory = process.memory()?;
        let mib = |kib: u64| kib as f64 / 1024.0;
        most = (
            f64::max(most.0, mib(memory.resident_kib)),
            f64::max(most.1, mib(memory.peak_kib)),
        );
    }
    Ok(most)
}
