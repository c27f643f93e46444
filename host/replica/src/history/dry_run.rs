//! A version that is tried on what its plugin was asked last: the same calls are played on the version
//! that runs and on the other one, and what differs is told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hostd_machine::{CallRecord, Called, Catalogue, Change, Subject};
use hostd_planted::{self as planted, Bug};
use hostd_protocol::{Difference, DryRun, LogLine, Logged, WriteDifference, Written};
use serde_bytes::ByteBuf;

use super::{
    History, HistoryError, apply,
    show::{call, shown_outcome, takes_secret},
};

/// Differences that are told; the others are counted.
const DIFFERENCES_MAX: usize = 100;
/// Changes of one call that are told, and the bytes of each value.
const WRITES_MAX: usize = 20;
const VALUE_BYTES: usize = 256;

/// A call's place in the log: entry, command, and the timer where the command fires several.
type Place = (u64, u32, Option<Vec<u8>>);

fn place(record: &CallRecord) -> Place {
    let timer = match &record.called {
        Called::Timer(id) => Some(id.clone()),
        Called::Command { .. } => None,
    };
    (record.index, record.offset, timer)
}

pub(super) fn compare(
    history: &History,
    component: &[u8],
    last: usize,
) -> Result<DryRun, HistoryError> {
    let mut present = history.rehearsals.begin(0)?;
    let checkpoint = present.position().map_or(0, |position| position.index);
    let described = present
        .describe(component)?
        .map_err(|rejection| HistoryError::Absent(rejection.message))?;
    let name = described.name.clone();
    let mut available = 0;
    let mut calls: VecDeque<(CallRecord, LogLine)> = VecDeque::new();
    history.play(&mut present, history.last, |_, entry, rehearsal| {
        let plugins = rehearsal.catalogue();
        let (_, records) = apply(rehearsal, entry)?;
        for record in records {
            if record.plugin.as_deref() == Some(&*name) {
                available += 1;
                let line = line(&plugins, entry.log_id.committed_leader_id().term, &record);
                calls.push_back((record, line));
                if calls.len() > last {
                    calls.pop_front();
                }
            }
        }
        Ok(true)
    })?;
    let plugins = present.catalogue();
    let Some((running, layout)) = plugins.version(&name) else {
        return Err(HistoryError::Absent(format!(
            "no plugin named '{name}' runs; add it with `hostctl plugin install`"
        )));
    };
    let mut told = DryRun {
        plugin: name.clone(),
        present: running,
        candidate: described.version,
        same_layout: described.state_version == layout,
        checkpoint,
        available,
        calls: calls.len() as u64,
        takes_over: String::new(),
        differing: 0,
        differences: Vec::new(),
        fuel_present: calls.iter().map(|(record, _)| record.fuel).sum(),
        fuel_candidate: 0,
    };
    drop(present);

    // The other version takes over the state as it was before the first of these calls.
    let start = calls
        .front()
        .map_or(history.last + 1, |(record, _)| record.index);
    let start = start + u64::from(planted::active(Bug::TryLate));
    let mut candidate = history.rehearsals.begin(0)?;
    let now = candidate.position().map_or(0, |position| position.index);
    if now != checkpoint {
        return Err(HistoryError::Moved);
    }
    history.play(
        &mut candidate,
        start.saturating_sub(1),
        |_, entry, rehearsal| {
            apply(rehearsal, entry)?;
            Ok(true)
        },
    )?;
    told.takes_over = candidate.take_over(component)?.map_err(|rejection| {
        HistoryError::Absent(format!(
            "{name} {} cannot take over: {}",
            told.candidate, rejection.message
        ))
    })?;
    let mut others: BTreeMap<Place, CallRecord> = BTreeMap::new();
    let wanted: BTreeSet<Place> = calls.iter().map(|(record, _)| place(record)).collect();
    let mut strangers = Vec::new();
    history.play(&mut candidate, history.last, |_, entry, rehearsal| {
        let plugins = rehearsal.catalogue();
        let (_, records) = apply(rehearsal, entry)?;
        for record in records {
            if wanted.contains(&place(&record)) {
                others.insert(place(&record), record);
            } else if record.plugin.as_deref() == Some(&*name) && !before(&record, &calls) {
                let term = entry.log_id.committed_leader_id().term;
                strangers.push((line(&plugins, term, &record), record));
            }
        }
        Ok(true)
    })?;
    for (record, line) in calls {
        let other = others.remove(&place(&record));
        told.fuel_candidate += other.as_ref().map_or(0, |other| other.fuel);
        if let Some(difference) = difference(&plugins, &record, line, other, told.same_layout) {
            note(&mut told, difference);
        }
    }
    for (line, record) in strangers {
        told.fuel_candidate += record.fuel;
        note(&mut told, only_candidate(&plugins, line, record));
    }
    Ok(told)
}

/// Whether a call comes before the first that is compared, in the same entry.
fn before(record: &CallRecord, calls: &VecDeque<(CallRecord, LogLine)>) -> bool {
    calls
        .front()
        .is_none_or(|(first, _)| place(record) < place(first))
}

/// Takes in a call that fares otherwise.
fn note(run: &mut DryRun, difference: Difference) {
    run.differing += 1;
    if run.differences.len() < DIFFERENCES_MAX {
        run.differences.push(difference);
    }
}

fn line(plugins: &Catalogue, term: u64, record: &CallRecord) -> LogLine {
    let plugin = record.plugin.as_deref();
    let (logged, secret) = match &record.called {
        Called::Command { name, arguments } => (
            call(
                plugins,
                record.principal.clone(),
                plugin,
                name.clone(),
                arguments.clone(),
            ),
            takes_secret(plugins, plugin, name),
        ),
        Called::Timer(id) => (
            Logged::Own {
                principal: String::new(),
                what: "timer".into(),
                detail: String::from_utf8_lossy(id).into_owned(),
            },
            false,
        ),
    };
    LogLine {
        index: record.index,
        offset: record.offset,
        term,
        time: Some(record.time),
        logged,
        outcome: Some(shown_outcome(record.outcome.clone(), secret)),
        fuel: Some(record.fuel),
    }
}

/// What differs between a call and the same call on the other version.
fn difference(
    plugins: &Catalogue,
    present: &CallRecord,
    line: LogLine,
    candidate: Option<CallRecord>,
    same_layout: bool,
) -> Option<Difference> {
    let alike = candidate.as_ref().is_some_and(|other| {
        other.outcome == present.outcome && (!same_layout || other.writes == present.writes)
    });
    if alike {
        return None;
    }
    let secret = is_secret(plugins, present);
    let writes = match &candidate {
        _ if secret || !same_layout => Vec::new(),
        Some(other) => write_differences(&present.writes, &other.writes),
        None => write_differences(&present.writes, &[]),
    };
    Some(Difference {
        line,
        fuel: candidate.as_ref().map_or(0, |other| other.fuel),
        outcome: candidate.map(|other| shown_outcome(other.outcome, secret)),
        writes,
    })
}

/// A call that takes place on the other version alone: a timer that the version that runs did not set.
fn only_candidate(plugins: &Catalogue, mut line: LogLine, record: CallRecord) -> Difference {
    line.outcome = None;
    line.fuel = None;
    let secret = is_secret(plugins, &record);
    Difference {
        line,
        writes: if secret {
            Vec::new()
        } else {
            write_differences(&[], &record.writes)
        },
        fuel: record.fuel,
        outcome: Some(shown_outcome(record.outcome, secret)),
    }
}

fn is_secret(plugins: &Catalogue, record: &CallRecord) -> bool {
    match &record.called {
        Called::Command { name, .. } => takes_secret(plugins, record.plugin.as_deref(), name),
        Called::Timer(_) => false,
    }
}

fn write_differences(present: &[Change], candidate: &[Change]) -> Vec<WriteDifference> {
    let of = |changes: &[Change]| -> BTreeMap<(Subject, Vec<u8>), Written> {
        changes
            .iter()
            .map(|change| ((change.subject, change.key.clone()), written(change)))
            .collect()
    };
    let (present, candidate) = (of(present), of(candidate));
    let mut keys: Vec<_> = present.keys().chain(candidate.keys()).collect();
    keys.sort();
    keys.dedup();
    keys.into_iter()
        .filter_map(|key| {
            let get =
                |map: &BTreeMap<_, Written>| map.get(key).cloned().unwrap_or(Written::Nothing);
            let (one, other) = (get(&present), get(&candidate));
            (one != other).then(|| WriteDifference {
                key: ByteBuf::from(key.1.clone()),
                timer: key.0 == Subject::Timer,
                present: one,
                candidate: other,
            })
        })
        .take(WRITES_MAX)
        .collect()
}

fn written(change: &Change) -> Written {
    match &change.value {
        None => Written::Removed,
        Some(value) => Written::Value {
            start: ByteBuf::from(value.get(..VALUE_BYTES).unwrap_or(value)),
            bytes: value.len() as u64,
        },
    }
}
