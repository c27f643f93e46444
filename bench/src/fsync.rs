//! The disk's own fsync: what one small durable write costs without any server.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

const BLOCK_BYTES: u64 = 4096;
/// Blocks of the pre-sized file; written in turn.
const BLOCKS: u64 = 1024;

/// Latency of a 4 KiB write and the `fdatasync` after it.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Latency {
    /// Median.
    pub(crate) p50_us: f64,
    /// 99th percentile.
    pub(crate) p99_us: f64,
}

/// The disk's latency in the two cases that differ.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Fsync {
    /// Into a file whose blocks all exist already: only data goes to the disk. This is what
    /// "the disk's own fsync" means in all ratios, because it is the smaller of the two.
    pub(crate) presized: Latency,
    /// At the end of a growing file: the filesystem's journal has to be written too.
    pub(crate) growing: Latency,
}

/// Measures in `dir` with this many writes each.
pub(crate) async fn measure(dir: &Path, writes: usize) -> Result<Fsync> {
    let dir = dir.to_owned();
    tokio::task::spawn_blocking(move || {
        let path = dir.join("fsync-probe");
        let result = probe(&path, writes);
        // The directory is temporary, so a file that stays behind goes with it.
        let _ = std::fs::remove_file(&path);
        result.with_context(|| format!("measure fsync in {}", dir.display()))
    })
    .await?
}

fn probe(path: &Path, writes: usize) -> Result<Fsync> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .open(path)?;
    let block = [0x5a; BLOCK_BYTES as usize];
    let timed = |offset: u64| -> Result<Duration> {
        let start = Instant::now();
        file.write_all_at(&block, offset)?;
        file.sync_data()?;
        Ok(start.elapsed())
    };
    let growing = (0..writes as u64)
        .map(|index| timed(index * BLOCK_BYTES))
        .collect::<Result<Vec<_>>>()?;
    for index in 0..BLOCKS {
        file.write_all_at(&block, index * BLOCK_BYTES)?;
    }
    file.sync_all()?;
    let presized = (0..writes as u64)
        .map(|index| timed(index % BLOCKS * BLOCK_BYTES))
        .collect::<Result<Vec<_>>>()?;
    Ok(Fsync {
        presized: latency(presized),
        growing: latency(growing),
    })
}

fn latency(mut samples: Vec<Duration>) -> Latency {
    samples.sort_unstable();
    let quantile = |q: f64| {
        let index = ((q * samples.len() as f64) as usize).min(samples.len() - 1);
        samples[index].as_secs_f64() * 1e6
    };
    Latency {
        p50_us: quantile(0.5),
        p99_us: quantile(0.99),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let fsync = measure(dir.path(), 20).await.unwrap();
        assert!(fsync.presized.p50_us > 0.0);
        assert!(fsync.growing.p99_us >= fsync.growing.p50_us);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
