//! Tables at the end of a run.

use std::collections::BTreeMap;
use std::time::Duration;

use comfy_table::{Cell, CellAlignment, Table, presets};

use crate::fault::Kind;
use crate::meter::{Ending, Meter};
use crate::workload;

/// What is counted of a fault.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) injected: u32,
    /// The longest time without an answer for anybody in an episode with it.
    pub(crate) silent: Duration,
    /// The longest time from its end until the cluster was healthy and served all.
    pub(crate) healing: Duration,
}

/// Prints what was injected and how the clients fared.
pub(crate) fn print(tallies: &BTreeMap<Kind, Tally>, meter: &Meter) {
    let mut faults = table(&["fault", "injected", "nobody served, s", "healthy again, s"]);
    for (kind, tally) in tallies {
        faults.add_row(row(
            &kind.name(),
            [
                tally.injected.to_string(),
                seconds(tally.silent),
                seconds(tally.healing),
            ],
        ));
    }
    let mut calls = table(&["workload", "ok", "refused", "unknown"]);
    let endings = [Ending::Ok, Ending::Refused, Ending::Unknown];
    for kind in workload::Kind::ALL {
        let counts = endings.map(|ending| meter.of(kind, ending).to_string());
        calls.add_row(row(kind.name(), counts));
    }
    calls.add_row(row(
        "all",
        endings.map(|ending| meter.total(ending).to_string()),
    ));
    println!("\n{faults}\n\n{calls}\n");
    println!(
        "longest time without an answer for anybody: {} s",
        seconds(meter.longest())
    );
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.iter().map(|name| name.to_uppercase()));
    table
}

fn row<const N: usize>(name: &str, cells: [String; N]) -> Vec<Cell> {
    let right = |text| Cell::new(text).set_alignment(CellAlignment::Right);
    let cells = cells.into_iter().map(right);
    std::iter::once(Cell::new(name)).chain(cells).collect()
}

fn seconds(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64())
}
