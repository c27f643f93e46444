//! Three nodes that nobody calls: their CPU time, and whether the log grows.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::cpu::Meter;
use crate::system::hostd::{Binaries, Hostd, NODES};

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
    let cluster = Hostd::start(binaries, dir, NODES).await?;
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

/// Waits until the checkpoint of what was written before, which is due once, is durable on every
/// node. If the cluster never rests, that is what will be measured.
async fn rest(cluster: &Hostd) -> Result<()> {
    const QUIET: Duration = Duration::from_secs(3);
    let deadline = Instant::now() + Duration::from_mins(1);
    while Instant::now() < deadline {
        let status = cluster.status().await?;
        if status.iter().all(|row| row.checkpoint == row.last_log) {
            break;
        }
        sleep(Duration::from_millis(300)).await;
    }
    sleep(QUIET).await;
    Ok(())
}

/// The last log indexes of all nodes together.
async fn last_logs(cluster: &Hostd) -> Result<u64> {
    let status = cluster.status().await?;
    Ok(status.iter().map(|row| row.last_log).sum())
}
