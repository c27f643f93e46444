//! Three nodes that nobody calls: their CPU time, and whether the log grows.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::cpu::Meter;
use crate::system::hostd::{Binaries, Hostd};

/// What was seen.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Idle {
    /// How long was looked.
    pub(crate) seconds: f64,
    /// CPU of all three nodes together, in percent of one core.
    pub(crate) cpu_percent: f64,
    /// CPU of each node.
    pub(crate) cpu_percent_each: Vec<f64>,
    /// Log entries that were added, over all nodes.
    pub(crate) log_growth: u64,
}

/// Starts a cluster in `dir`, lets it come to rest, and watches it.
pub(crate) async fn run(binaries: &Binaries, dir: &Path, watch: Duration) -> Result<Idle> {
    let cluster = Hostd::start(binaries, dir).await?;
    cluster.fill().await?;
    rest(&cluster).await?;
    let before = last_logs(&cluster).await?;
    let pids = cluster.pids();
    let meters = pids
        .iter()
        .map(|pid| Meter::start(&[*pid]))
        .collect::<Result<Vec<_>>>()?;
    sleep(watch).await;
    let mut each = Vec::new();
    for meter in meters {
        let used = meter.stop()?;
        each.push(100.0 * used.servers / used.elapsed.as_secs_f64());
    }
    let after = last_logs(&cluster).await?;
    Ok(Idle {
        seconds: watch.as_secs_f64(),
        cpu_percent: each.iter().sum(),
        cpu_percent_each: each,
        log_growth: after.saturating_sub(before),
    })
}

/// Waits until the log has not grown for a while: a checkpoint of what was written before is due
/// once. If it never rests, that is what will be measured.
async fn rest(cluster: &Hostd) -> Result<()> {
    const QUIET: Duration = Duration::from_secs(3);
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut last = (last_logs(cluster).await?, Instant::now());
    while last.1.elapsed() < QUIET && Instant::now() < deadline {
        sleep(Duration::from_millis(300)).await;
        let now = last_logs(cluster).await?;
        if now != last.0 {
            last = (now, Instant::now());
        }
    }
    Ok(())
}

/// The last log indexes of all nodes together.
async fn last_logs(cluster: &Hostd) -> Result<u64> {
    let status = cluster.status().await?;
    Ok(status.iter().map(|row| row.last_log).sum())
}
