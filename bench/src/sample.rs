//! What one round says about a load, and all rounds together.

use serde::Serialize;

use crate::case::{Case, Contender};
use crate::median::median;
use crate::shape::Shape;
use crate::system::Work;

/// One round of one load.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Sample {
    /// Answered requests per second.
    pub(crate) per_second: f64,
    /// Median latency.
    pub(crate) p50_us: f64,
    /// 99th percentile of the latency.
    pub(crate) p99_us: f64,
    /// Requests that failed.
    pub(crate) errors: u64,
    /// The first failure's text.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) first_error: String,
    /// CPU time of all servers per request.
    pub(crate) servers_cpu_us: f64,
    /// CPU time of the load generator per request.
    pub(crate) client_cpu_us: f64,
    /// Share of the machine's CPUs that others used meanwhile.
    pub(crate) foreign_share: f64,
    /// For a single request at a time: the disk's own fsync, mean of right before and after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fsync_us: Option<f64>,
}

/// All rounds of one load.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Series {
    /// The load.
    #[serde(flatten)]
    pub(crate) case: Case,
    /// How many connections the clients shared; `None` where each had its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connections: Option<usize>,
    /// One per round.
    pub(crate) rounds: Vec<Sample>,
}

impl Series {
    /// The median over the rounds.
    pub(crate) fn median(&self, get: impl Fn(&Sample) -> f64) -> f64 {
        median(self.rounds.iter().map(get))
    }

    /// The least and the greatest number of requests per second.
    pub(crate) fn range(&self) -> (f64, f64) {
        let rates = || self.rounds.iter().map(|sample| sample.per_second);
        (
            rates().fold(f64::INFINITY, f64::min),
            rates().fold(0.0, f64::max),
        )
    }

    /// How many times the other's requests per second: the median of each round's ratio.
    pub(crate) fn ratio(&self, other: &Series) -> f64 {
        let rounds = self.rounds.iter().zip(&other.rounds);
        median(rounds.map(|(own, other)| own.per_second / other.per_second))
    }

    /// How many times the disk's own fsync: the median of each round's ratio.
    pub(crate) fn fsyncs(&self, get: impl Fn(&Sample) -> f64) -> Option<f64> {
        let ratios: Option<Vec<f64>> = self
            .rounds
            .iter()
            .map(|sample| Some(get(sample) / sample.fsync_us?))
            .collect();
        Some(median(ratios?))
    }
}

/// Finds a load among those that ran.
pub(crate) fn find(
    series: &[Series],
    work: Work,
    shape: Shape,
    contender: Contender,
) -> Option<&Series> {
    let wanted = Case::new(work, shape, contender);
    series
        .iter()
        .find(|series| series.case == wanted && !series.rounds.is_empty())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn series(case: Case, rates: &[f64]) -> Series {
        let rounds = rates.iter().map(|per_second| Sample {
            per_second: *per_second,
            p50_us: 400.0,
            p99_us: 1_600.0,
            fsync_us: Some(100.0),
            ..Sample::default()
        });
        Series {
            case,
            connections: None,
            rounds: rounds.collect(),
        }
    }

    #[test]
    fn ratios_compare_rounds_that_ran_side_by_side() {
        // The machine was half as fast in the second round, for both.
        let hostd = series(Case::hostd(Work::Set, Shape::MANY), &[100.0, 50.0, 120.0]);
        let case = Case::new(Work::Set, Shape::MANY, Contender::Etcd);
        let etcd = series(case, &[20.0, 10.0, 20.0]);
        assert!((hostd.ratio(&etcd) - 5.0).abs() < 1e-9);
        assert_eq!(hostd.range(), (50.0, 120.0));
        assert_eq!(hostd.fsyncs(|sample| sample.p50_us), Some(4.0));
    }
}
