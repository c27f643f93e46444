//! `wit/state.wit`: the plugin's own ordered map.

use std::ops::ControlFlow;
use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Linker, WasmList};

use crate::Fault;
use crate::store::{Key, Row, Span, Step, data_key, prefix_end, space_prefix};
use crate::wasm::{HostState, HostStop, Meter, Scope, charge, charge_bytes, metered};

pub(super) const INTERFACE: &str = "hostd:plugin/state@0.1.0";

/// Size from which a scan's buffer is handed over. Part of the rules.
const SCAN_BUFFER_BYTES: usize = 64 << 10;

/// Fuel of each row of a range, on top of its key's bytes and of its value's where that is read.
const ROW_FUEL: u64 = 64;

/// Fuel of stepping over a row that was removed since the last checkpoint.
const REMOVED_FUEL: u64 = 16;

type Value = Arc<[u8]>;

/// A key with its new value, or none to remove it, where the guest has them.
type GuestWrite = (WasmList<u8>, Option<WasmList<u8>>);

#[derive(ComponentType, Lift)]
#[component(record)]
struct Range {
    start: Vec<u8>,
    end: Option<Vec<u8>>,
    reverse: bool,
    #[component(name = "keys-only")]
    keys_only: bool,
    limit: u32,
}

impl Range {
    /// Size of what the guest passed.
    fn bytes(&self) -> usize {
        self.start.len() + self.end.as_ref().map_or(0, Vec::len)
    }
}

pub(super) fn add(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    let mut interface = linker.instance(INTERFACE)?;
    interface.func_wrap(
        "get",
        |mut store: StoreContextMut<'_, HostState>, (key,): (WasmList<u8>,)| {
            Ok((get(&mut store, &key)?,))
        },
    )?;
    interface.func_wrap(
        "get-many",
        |mut store: StoreContextMut<'_, HostState>, (keys,): (Vec<WasmList<u8>>,)| {
            let mut values = Vec::with_capacity(keys.len());
            for key in &keys {
                values.push(get(&mut store, key)?);
            }
            Ok((values,))
        },
    )?;
    interface.func_wrap(
        "put",
        |mut store: StoreContextMut<'_, HostState>, (key, value): (WasmList<u8>, WasmList<u8>)| {
            write(&mut store, &key, Some(&value))
        },
    )?;
    interface.func_wrap(
        "delete",
        |mut store: StoreContextMut<'_, HostState>, (key,): (WasmList<u8>,)| {
            write(&mut store, &key, None)
        },
    )?;
    interface.func_wrap(
        "write-batch",
        |mut store: StoreContextMut<'_, HostState>, (writes,): (Vec<GuestWrite>,)| {
            for (key, value) in &writes {
                write(&mut store, key, value.as_ref())?;
            }
            Ok(())
        },
    )?;
    interface.func_wrap(
        "scan",
        |mut store: StoreContextMut<'_, HostState>, (range,): (Range,)| {
            charge(&mut store, range.bytes())?;
            let buffer = metered(&mut store, |scope, meter| scan(scope, &range, meter))?;
            Ok((buffer,))
        },
    )?;
    interface.func_wrap(
        "delete-range",
        |mut store: StoreContextMut<'_, HostState>, (range,): (Range,)| {
            charge(&mut store, range.bytes())?;
            let removed = metered(&mut store, |scope, meter| delete_range(scope, range, meter))?;
            Ok((removed,))
        },
    )
}

/// The row key of a guest's key, in the scope's buffer; give it back through `get`.
fn own_key(
    store: &mut StoreContextMut<'_, HostState>,
    key: &WasmList<u8>,
) -> wasmtime::Result<Vec<u8>> {
    let scope = &mut store.data_mut().scope;
    let mut buffer = std::mem::take(&mut scope.buffer);
    let space = scope.task()?.space;
    data_key(&mut buffer, space, key.as_le_slice(&*store));
    Ok(buffer)
}

fn get(
    store: &mut StoreContextMut<'_, HostState>,
    key: &WasmList<u8>,
) -> wasmtime::Result<Option<Value>> {
    charge(store, key.len())?;
    let key = own_key(store, key)?;
    let scope = &mut store.data_mut().scope;
    let task = scope.task.as_ref().ok_or(HostStop::OutsideCommand)?;
    let found = task.layers.get_with(&scope.writes, &key);
    scope.buffer = key;
    let value = scope.keep(found)?;
    charge_bytes(store, value.as_ref().map_or(0, |value| value.len()))?;
    Ok(value)
}

fn write(
    store: &mut StoreContextMut<'_, HostState>,
    key: &WasmList<u8>,
    value: Option<&WasmList<u8>>,
) -> wasmtime::Result<()> {
    charge(store, key.len() + value.map_or(0, WasmList::len))?;
    let (task, _) = store.data_mut().scope.writable()?;
    if key.len() as u64 > task.limits.key_bytes_max {
        return Err(HostStop::TooLarge("a key is over the limit").into());
    }
    if value.is_some_and(|value| value.len() as u64 > task.limits.value_bytes_max) {
        return Err(HostStop::TooLarge("a value is over the limit").into());
    }
    let row_key = own_key(store, key)?;
    let value: Option<Value> = value.map(|value| value.as_le_slice(&*store).into());
    let scope = &mut store.data_mut().scope;
    match scope.writes.get_mut(row_key.as_slice()) {
        Some(write) => *write = value,
        None => {
            scope.writes.insert(Key::from(row_key.as_slice()), value);
        }
    }
    scope.buffer = row_key;
    Ok(())
}

/// The row keys between which a guest's range lies.
fn span(space: u32, range: &Range) -> (Vec<u8>, Vec<u8>) {
    let prefix = space_prefix(space);
    let mut start = prefix.to_vec();
    start.extend_from_slice(&range.start);
    let end = match &range.end {
        Some(end) => [&prefix[..], end].concat(),
        None => prefix_end(&prefix),
    };
    (start, end)
}

/// Gives `visit` the present rows of a range, in order, until it has enough. Each costs fuel before
/// it is given, and so does each removed row on the way. Removed rows of what is being written to
/// disk cost nothing: how long they are there is this node's own affair.
fn visit_rows(
    scope: &mut Scope,
    range: &Range,
    meter: &mut Meter,
    mut visit: impl FnMut(Key, Row) -> ControlFlow<()>,
) -> Result<(), HostStop> {
    let Scope {
        task,
        writes,
        fault,
        ..
    } = scope;
    let mut keep = |met: Fault| {
        *fault = Some(met);
        HostStop::Fault
    };
    let task = task.as_ref().ok_or(HostStop::OutsideCommand)?;
    let (start, end) = span(task.space, range);
    let span = Span {
        reverse: range.reverse,
        keys_only: range.keys_only,
        ..Span::new(&start, &end)
    };
    let mut rows = task.layers.scan(writes, span).map_err(&mut keep)?;
    let mut left = match range.limit {
        0 => u32::MAX,
        limit => limit,
    };
    while left > 0
        && let Some(step) = rows.step()
    {
        let (key, row) = match step.map_err(&mut keep)? {
            Step::Row(key, row) => (key, row),
            Step::Removed => {
                meter.take(REMOVED_FUEL)?;
                continue;
            }
        };
        // Rows in memory have their values at hand even where only keys are asked for.
        let value_bytes = if range.keys_only { 0 } else { row.value.len() };
        meter.take(ROW_FUEL + (key.len() + value_bytes) as u64)?;
        left -= 1;
        if visit(key, row).is_break() {
            break;
        }
    }
    Ok(())
}

fn scan(scope: &mut Scope, range: &Range, meter: &mut Meter) -> Result<Vec<u8>, HostStop> {
    let prefix = space_prefix(scope.task()?.space).len();
    let mut buffer = Vec::new();
    visit_rows(scope, range, meter, |key, row| {
        let key = &key[prefix..];
        let value_bytes = if range.keys_only {
            0
        } else {
            4 + row.value.len()
        };
        if !buffer.is_empty() && buffer.len() + 4 + key.len() + value_bytes > SCAN_BUFFER_BYTES {
            return ControlFlow::Break(());
        }
        pack(&mut buffer, key);
        if !range.keys_only {
            pack(&mut buffer, &row.value);
        }
        ControlFlow::Continue(())
    })?;
    Ok(buffer)
}

fn pack(buffer: &mut Vec<u8>, bytes: &[u8]) {
    // Keys and values are bounded far below 4 GiB.
    buffer.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    buffer.extend_from_slice(bytes);
}

fn delete_range(scope: &mut Scope, range: Range, meter: &mut Meter) -> Result<u64, HostStop> {
    scope.writable()?;
    let range = Range {
        reverse: false,
        keys_only: true,
        ..range
    };
    let mut keys = Vec::new();
    visit_rows(scope, &range, meter, |key, _| {
        keys.push(key);
        ControlFlow::Continue(())
    })?;
    let removed = keys.len() as u64;
    scope.writes.extend(keys.into_iter().map(|key| (key, None)));
    Ok(removed)
}
