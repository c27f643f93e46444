//! The results: as tables for a terminal, as Markdown to keep, as JSON for programs.

pub(crate) mod format;
mod table;

use std::fmt::Write;

use serde::Serialize;

use crate::case::{Case, Contender};
use crate::fsync::{Fsync, Latency};
use crate::machine::Machine;
use crate::sample::{Series, find};
use crate::scenario::failover::Failover;
use crate::scenario::idle::Idle;
use crate::scenario::memory::Memory;
use crate::shape::Shape;
use crate::system::{REDIS_CLIENTS, Work};
use crate::target::Check;
use format::{count, micros, seconds, times};
use table::Table;

/// Everything that was measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// The command line.
    pub(crate) command: String,
    /// The machine.
    pub(crate) machine: Machine,
    /// Load averages after the run.
    pub(crate) load_after: String,
    /// The disk before the run.
    pub(crate) fsync_before: Fsync,
    /// The disk after the run.
    pub(crate) fsync_after: Fsync,
    /// Targets.
    pub(crate) checks: Vec<Check>,
    /// Loads.
    pub(crate) loads: Vec<Series>,
    /// SIGKILL of the leader.
    pub(crate) failover: Option<Failover>,
    /// Nobody calls.
    pub(crate) idle: Option<Idle>,
    /// Memory.
    pub(crate) memory: Option<Memory>,
    /// How to read the figures, and what was left out.
    pub(crate) notes: Vec<String>,
}

impl Report {
    /// For a terminal.
    pub(crate) fn text(&self) -> String {
        self.render(Table::text, |title| format!("\n{title}\n"))
    }

    /// For `RESULTS.md`.
    pub(crate) fn markdown(&self) -> String {
        let body = self.render(Table::markdown, |title| format!("\n## {title}\n\n"));
        format!(
            "# What hostd reaches\n\nWritten by `{}`.\n{body}",
            self.command
        )
    }

    fn render(&self, table: fn(&Table) -> String, title: fn(&str) -> String) -> String {
        let mut text = String::new();
        let mut section = |name: &str, body: Table| {
            if !body.is_empty() {
                let _ = writeln!(text, "{}{}", title(name), table(&body).trim_end());
            }
        };
        section("Targets", self.targets());
        section("Loads", self.loads());
        section("One by one", self.stories());
        section("Machine", self.machine());
        let _ = write!(text, "{}", title("Notes"));
        for note in &self.notes {
            let _ = writeln!(text, "- {note}");
        }
        text
    }

    fn targets(&self) -> Table {
        let mut table = Table::new(1, &["what", "target", "measured", "verdict"]);
        for check in &self.checks {
            table.row(vec![
                check.what.clone(),
                check.target.clone(),
                check.measured.clone(),
                if check.ok { "ok" } else { "missed" }.to_owned(),
            ]);
        }
        table
    }

    fn loads(&self) -> Table {
        let mut table = Table::new(
            2,
            &[
                "load",
                "system",
                "per second",
                "least to most",
                "median",
                "p99",
                "CPU µs: servers",
                "client",
                "hostd is",
            ],
        );
        for series in &self.loads {
            let (least, most) = series.range();
            let system = match series.connections {
                Some(connections) if series.case.shape.clients > 1 => {
                    let plural = if connections == 1 { "" } else { "s" };
                    let name = series.case.contender.name();
                    format!("{name}, {connections} connection{plural}")
                }
                _ => series.case.contender.name().to_owned(),
            };
            table.row(vec![
                format!("{} {}", series.case.work.name(), series.case.shape),
                system,
                count(series.median(|sample| sample.per_second)),
                format!("{} – {}", count(least), count(most)),
                micros(series.median(|sample| sample.p50_us)),
                micros(series.median(|sample| sample.p99_us)),
                format!("{:.1}", series.median(|sample| sample.servers_cpu_us)),
                format!("{:.1}", series.median(|sample| sample.client_cpu_us)),
                self.hostd_is(series).map_or_else(String::new, times),
            ]);
        }
        table
    }

    /// How many times hostd does as much as another system under the like load.
    fn hostd_is(&self, other: &Series) -> Option<f64> {
        let Case {
            work,
            shape,
            contender,
        } = other.case;
        let like = match (contender, work) {
            (Contender::Hostd | Contender::HostdResp | Contender::HostdRespAlone, _)
            | (_, Work::Incr) => return None,
            (Contender::Redis, _) if shape.clients == REDIS_CLIENTS => {
                Shape::new(Shape::MANY.clients, shape.in_flight)
            }
            _ => shape,
        };
        let own = match contender {
            Contender::EtcdApart => Contender::HostdApart,
            _ => Contender::Hostd,
        };
        Some(find(&self.loads, work, like, own)?.ratio(other))
    }

    fn stories(&self) -> Table {
        let mut table = Table::new(1, &["what", "measured"]);
        let mut row = |what: &str, measured: String| table.row(vec![what.to_owned(), measured]);
        if let Some(failover) = &self.failover {
            row(
                "SIGKILL of the leader to the next acknowledged write, median",
                format!(
                    "{} of {}",
                    seconds(failover.median()),
                    list(&failover.seconds, seconds)
                ),
            );
            row(
                "the same until each of 16 clients has one",
                list(&failover.everybody_seconds, seconds),
            );
        }
        if let Some(idle) = &self.idle {
            let percent = |percent: f64| format!("{percent:.2} %");
            row(
                "idle, CPU of each node",
                format!(
                    "{} over {}",
                    list(&idle.cpu_percent_each, percent),
                    seconds(idle.seconds)
                ),
            );
        }
        if let Some(memory) = &self.memory {
            let mib = |mib: f64| format!("{mib:.0}");
            row(
                "memory after each tenth of the writes",
                format!("{} MiB", list(&memory.series_mib, mib)),
            );
            row(
                "memory at rest after them, and its peak",
                format!("{:.0} MiB, {:.0} MiB", memory.after_mib, memory.peak_mib),
            );
        }
        table
    }

    fn machine(&self) -> Table {
        let machine = &self.machine;
        let mut table = Table::new(2, &["", ""]);
        let mut row = |what: &str, is: String| table.row(vec![what.to_owned(), is]);
        row(
            "machine",
            format!(
                "{} CPUs ({}), {:.0} GiB, Linux {}, {}",
                machine.cpus, machine.cpu, machine.memory_gib, machine.kernel, machine.filesystem
            ),
        );
        row(
            "load average before, after",
            format!("{}, {}", machine.load_before, self.load_after),
        );
        let latency = |latency: Latency| {
            let Latency { p50_us, p99_us } = latency;
            format!("{} (p99 {})", micros(p50_us), micros(p99_us))
        };
        let both = |get: fn(&Fsync) -> Latency| {
            let (before, after) = (get(&self.fsync_before), get(&self.fsync_after));
            format!("{}, {}", latency(before), latency(after))
        };
        row(
            "the disk's own fsync: 4 KiB into a pre-sized file, before, after",
            both(|fsync| fsync.presized),
        );
        row(
            "4 KiB at the end of a growing file, before, after",
            both(|fsync| fsync.growing),
        );
        table
    }
}

fn list(values: &[f64], format: fn(f64) -> String) -> String {
    let values: Vec<String> = values.iter().map(|value| format(*value)).collect();
    values.join(", ")
}
