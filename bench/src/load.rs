//! A closed-loop load inside this process: lanes that send their next request when the last one
//! is answered.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Deserialize;
use tokio::task::JoinSet;

use crate::options::Timing;

/// One request in flight at a time.
pub(crate) trait Lane: Send + 'static {
    /// Sends one request and waits for its answer.
    fn once(&mut self) -> impl Future<Output = Result<()>> + Send;
}

/// What a load came to. The figures cover the measured time only, but for `total`.
///
/// Other load generators print the same as JSON.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Measured {
    /// Answered requests.
    pub(crate) operations: u64,
    /// Requests that failed.
    pub(crate) errors: u64,
    /// The first failure's text.
    #[serde(default)]
    pub(crate) first_error: String,
    /// Length of the measured time.
    pub(crate) seconds: f64,
    /// Median latency.
    pub(crate) p50_us: f64,
    /// 99th percentile of the latency.
    pub(crate) p99_us: f64,
    /// Requests answered in the warm-up and the measured time, to go with CPU time.
    pub(crate) total: u64,
}

impl Measured {
    /// Answered requests per second.
    pub(crate) fn per_second(&self) -> f64 {
        self.operations as f64 / self.seconds
    }
}

/// Runs the lanes side by side for the warm-up and the measured time.
pub(crate) async fn run<L: Lane>(lanes: Vec<L>, timing: Timing) -> Result<Measured> {
    let from = Instant::now() + timing.warmup;
    let until = from + timing.duration;
    let mut tasks = JoinSet::new();
    for lane in lanes {
        tasks.spawn(repeat(lane, from, until));
    }
    let mut sum = Tally::default();
    while let Some(tally) = tasks.join_next().await {
        sum.add(tally.context("a lane of the load panicked")?);
    }
    Ok(sum.finish(timing.duration))
}

/// Runs the lanes side by side until `count` requests were sent, and returns how many failed.
/// `answered` follows along.
pub(crate) async fn run_count<L: Lane>(
    lanes: Vec<L>,
    count: u64,
    answered: Arc<AtomicU64>,
) -> Result<u64> {
    let sent = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for mut lane in lanes {
        let (sent, answered) = (Arc::clone(&sent), Arc::clone(&answered));
        tasks.spawn(async move {
            let mut errors = 0;
            while sent.fetch_add(1, Ordering::Relaxed) < count {
                match lane.once().await {
                    Ok(()) => _ = answered.fetch_add(1, Ordering::Relaxed),
                    Err(_) => errors += 1,
                }
            }
            errors
        });
    }
    let mut errors = 0;
    while let Some(failed) = tasks.join_next().await {
        errors += failed.context("a lane of the load panicked")?;
    }
    Ok(errors)
}

/// What one lane saw.
#[derive(Default)]
struct Tally {
    latencies_us: Vec<u32>,
    errors: u64,
    first_error: String,
    total: u64,
}

async fn repeat<L: Lane>(mut lane: L, from: Instant, until: Instant) -> Tally {
    let mut tally = Tally::default();
    loop {
        let start = Instant::now();
        if start >= until {
            return tally;
        }
        let result = lane.once().await;
        let end = Instant::now();
        let measured = from <= end && end < until;
        match result {
            Ok(()) => {
                tally.total += 1;
                if measured {
                    let latency = end.duration_since(start).as_micros();
                    tally
                        .latencies_us
                        .push(u32::try_from(latency).unwrap_or(u32::MAX));
                }
            }
            Err(error) => {
                if tally.first_error.is_empty() {
                    tally.first_error = format!("{error:#}");
                }
                tally.errors += u64::from(measured);
            }
        }
    }
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.latencies_us.extend(other.latencies_us);
        self.errors += other.errors;
        self.total += other.total;
        if self.first_error.is_empty() {
            self.first_error = other.first_error;
        }
    }

    fn finish(mut self, duration: Duration) -> Measured {
        self.latencies_us.sort_unstable();
        let quantile = |q: f64| {
            let index = (q * self.latencies_us.len() as f64) as usize;
            let last = self.latencies_us.len().checked_sub(1);
            last.map_or(0.0, |last| f64::from(self.latencies_us[index.min(last)]))
        };
        Measured {
            operations: self.latencies_us.len() as u64,
            errors: self.errors,
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            first_error: self.first_error,
            seconds: duration.as_secs_f64(),
            total: self.total,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    /// Answers at once, and fails every tenth time.
    struct Counter(u64);

    impl Lane for Counter {
        async fn once(&mut self) -> Result<()> {
            tokio::task::yield_now().await;
            self.0 += 1;
            if self.0.is_multiple_of(10) {
                bail!("tenth");
            }
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_counted_load_sends_exactly_that_many() {
        let answered = Arc::new(AtomicU64::new(0));
        let lanes = (0..7).map(|_| Counter(0)).collect();
        let errors = run_count(lanes, 1_000, Arc::clone(&answered))
            .await
            .unwrap();
        assert!(errors > 0);
        assert_eq!(answered.load(Ordering::Relaxed) + errors, 1_000);
    }

    #[tokio::test]
    async fn failures_are_counted_apart_and_the_first_is_kept() {
        let timing = Timing {
            warmup: Duration::ZERO,
            duration: Duration::from_millis(50),
        };
        let measured = run(vec![Counter(0), Counter(5)], timing).await.unwrap();
        assert!(measured.operations > 0);
        assert!(measured.errors > 0);
        assert_eq!(measured.first_error, "tenth");
        assert!(measured.total >= measured.operations);
    }

    #[test]
    fn quantiles_are_taken_from_the_sorted_latencies() {
        let mut tally = Tally::default();
        tally.add(Tally {
            latencies_us: (1..=100).rev().collect(),
            ..Tally::default()
        });
        let measured = tally.finish(Duration::from_secs(2));
        assert!((measured.p50_us - 51.0).abs() < 0.1);
        assert!((measured.p99_us - 100.0).abs() < 0.1);
        assert!((measured.per_second() - 50.0).abs() < 0.1);
    }
}
