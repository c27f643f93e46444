//! What the figures must reach, and whether they do.

use serde::Serialize;

use crate::case::Contender;
use crate::report::format::{seconds, times};
use crate::sample::{Series, find};
use crate::scenario::failover::Failover;
use crate::scenario::idle::Idle;
use crate::scenario::memory::Memory;
use crate::shape::Shape;
use crate::system::Work;

/// A target and what was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    /// What is looked at.
    pub(crate) what: String,
    /// What it must be.
    pub(crate) target: String,
    /// What it is.
    pub(crate) measured: String,
    /// Whether that will do.
    pub(crate) ok: bool,
}

/// Writes per second, over etcd's.
const OVER_ETCD: [(Shape, f64); 2] = [(Shape::MANY, 5.0), (Shape::PIPELINED, 20.0)];
/// Median and 99th percentile of a lone write, in fsyncs.
const FSYNCS: (f64, f64) = (6.0, 15.0);
/// Reads per second over writes per second.
const READS_OVER_WRITES: f64 = 2.0;
/// An idle cluster's share of one core, in percent.
const IDLE_PERCENT: f64 = 2.0;
/// An empty node's memory.
const EMPTY_MIB: f64 = 150.0;
/// Memory is flat when it grows by less than this over four fifths of the writes: allocators keep
/// some slack, and a leak of a few bytes a command would be more.
const FLAT_SHARE: f64 = 0.10;
/// From the kill to the next acknowledged write.
const FAILOVER_SECONDS: f64 = 2.0;

/// Targets for the loads that ran.
pub(crate) fn of_loads(series: &[Series]) -> Vec<Check> {
    let mut checks = Vec::new();
    for (shape, target) in OVER_ETCD {
        for work in [Work::Set, Work::Ticket] {
            checks.extend(over_etcd(series, work, shape, target));
        }
    }
    for work in [Work::Set, Work::Ticket] {
        checks.extend(lone_write(series, work));
    }
    for shape in [Shape::MANY, Shape::PIPELINED] {
        checks.extend(reads_over_writes(series, shape));
    }
    checks
}

fn over_etcd(series: &[Series], work: Work, shape: Shape, target: f64) -> Option<Check> {
    let hostd = find(series, work, shape, Contender::Hostd)?;
    let etcd = find(series, Work::Set, shape, Contender::Etcd)?;
    let ratio = hostd.ratio(etcd);
    Some(Check {
        what: format!("{} {shape}, writes per second over etcd's", work.name()),
        target: format!("≥ {target}×"),
        measured: times(ratio),
        ok: ratio >= target,
    })
}

fn lone_write(series: &[Series], work: Work) -> Vec<Check> {
    let Some(series) = find(series, work, Shape::SINGLE, Contender::Hostd) else {
        return Vec::new();
    };
    let p50 = series.fsyncs(|sample| sample.p50_us);
    let p99 = series.fsyncs(|sample| sample.p99_us);
    [("median", p50, FSYNCS.0), ("p99", p99, FSYNCS.1)]
        .into_iter()
        .filter_map(|(what, fsyncs, target)| {
            let fsyncs = fsyncs?;
            Some(Check {
                what: format!("{} 1×1, {what} latency over the disk's fsync", work.name()),
                target: format!("≤ {target}×"),
                measured: times(fsyncs),
                ok: fsyncs <= target,
            })
        })
        .collect()
}

fn reads_over_writes(series: &[Series], shape: Shape) -> Option<Check> {
    let reads = find(series, Work::Get, shape, Contender::Hostd)?;
    let writes = find(series, Work::Set, shape, Contender::Hostd)?;
    let ratio = reads.ratio(writes);
    Some(Check {
        what: format!("{shape}, linearizable reads per second over writes"),
        target: format!("≥ {READS_OVER_WRITES}×"),
        measured: times(ratio),
        ok: ratio >= READS_OVER_WRITES,
    })
}

/// Targets for failover.
pub(crate) fn of_failover(failover: &Failover) -> Vec<Check> {
    vec![Check {
        what: "SIGKILL of the leader to the next acknowledged write, longest".to_owned(),
        target: format!("< {FAILOVER_SECONDS} s"),
        measured: seconds(failover.max()),
        ok: failover.max() < FAILOVER_SECONDS,
    }]
}

/// Targets for an idle cluster.
pub(crate) fn of_idle(idle: &Idle) -> Vec<Check> {
    vec![
        Check {
            what: "idle, CPU of three nodes together".to_owned(),
            target: format!("< {IDLE_PERCENT} % of one core"),
            measured: format!("{:.2} %", idle.cpu_percent),
            ok: idle.cpu_percent < IDLE_PERCENT,
        },
        Check {
            what: "idle, growth of the log".to_owned(),
            target: "none".to_owned(),
            measured: format!("{} entries", idle.log_growth),
            ok: idle.log_growth == 0,
        },
    ]
}

/// Targets for memory.
pub(crate) fn of_memory(memory: &Memory) -> Vec<Check> {
    let filled = memory.series_mib.get(1).copied().unwrap_or(0.0);
    let growth = memory.growth_mib();
    vec![
        Check {
            what: "memory of a node with an empty state".to_owned(),
            target: format!("< {EMPTY_MIB} MiB"),
            measured: format!("{:.0} MiB", memory.empty_mib),
            ok: memory.empty_mib < EMPTY_MIB,
        },
        Check {
            what: format!(
                "memory over {} writes to 1 000 keys, after the first fifth",
                memory.commands
            ),
            target: format!("flat (< {:.0} %)", FLAT_SHARE * 100.0),
            measured: format!("{growth:+.0} MiB of {filled:.0} MiB"),
            ok: growth < FLAT_SHARE * filled,
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Case;
    use crate::sample::tests::series;

    fn verdicts(series: &[Series]) -> Vec<(String, bool)> {
        of_loads(series)
            .into_iter()
            .map(|check| (check.what, check.ok))
            .collect()
    }

    #[test]
    fn etcd_is_compared_with_both_kinds_of_write() {
        let etcd = Case::new(Work::Set, Shape::MANY, Contender::Etcd);
        let all = [
            series(Case::hostd(Work::Set, Shape::MANY), &[50.0]),
            series(Case::hostd(Work::Ticket, Shape::MANY), &[49.0]),
            series(etcd, &[10.0]),
        ];
        let expected = [
            ("set 64×1, writes per second over etcd's".to_owned(), true),
            (
                "ticket 64×1, writes per second over etcd's".to_owned(),
                false,
            ),
        ];
        assert_eq!(verdicts(&all), expected);
    }

    #[test]
    fn what_did_not_run_is_not_judged() {
        let hostd = series(Case::hostd(Work::Set, Shape::MANY), &[50.0]);
        let empty = series(Case::new(Work::Set, Shape::MANY, Contender::Etcd), &[]);
        assert_eq!(verdicts(&[hostd, empty]), []);
    }

    #[test]
    fn a_lone_write_is_measured_in_fsyncs() {
        // 400 µs and 1.6 ms at 100 µs a sync.
        let all = [series(Case::hostd(Work::Set, Shape::SINGLE), &[2_500.0])];
        let checks = of_loads(&all);
        assert_eq!(checks[0].measured, "4.0×");
        assert!(checks[0].ok);
        assert_eq!(checks[1].measured, "16.0×");
        assert!(!checks[1].ok);
    }

    #[test]
    fn memory_is_flat_when_the_later_four_fifths_add_little() {
        let memory = |last: f64| Memory {
            empty_mib: 40.0,
            commands: 1_000_000,
            series_mib: vec![100.0, 103.0, last],
            after_mib: last,
            peak_mib: last,
        };
        assert!(of_memory(&memory(104.0)).iter().all(|check| check.ok));
        assert!(!of_memory(&memory(130.0))[1].ok);
    }
}
