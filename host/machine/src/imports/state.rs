//! `wit/state.wit`: the plugin's own ordered map.

use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Linker, WasmList};

use crate::store::{Key, Span, data_key, plugin_prefix, prefix_end};
use crate::wasm::{HostState, HostStop, Scope, charge};

pub(super) const INTERFACE: &str = "hostd:plugin/state@0.1.0";

/// Size from which a scan's buffer is handed over. Part of the rules.
const SCAN_BUFFER_BYTES: usize = 64 << 10;

/// Rows that one `delete-range` looks at, at most; fuel bounds the rest.
const ROW_FUEL_BYTES: usize = 64;

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

pub(super) fn add(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    let mut interface = linker.instance(INTERFACE)?;
    interface.func_wrap(
        "get",
        |mut store: StoreContextMut<'_, HostState>, (key,): (WasmList<u8>,)| {
            let key = own_key(&mut store, &key)?;
            Ok((get(&mut store, key)?,))
        },
    )?;
    interface.func_wrap(
        "get-many",
        |mut store: StoreContextMut<'_, HostState>, (keys,): (Vec<WasmList<u8>>,)| {
            let mut values = Vec::with_capacity(keys.len());
            for key in &keys {
                let key = own_key(&mut store, key)?;
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
            let buffer = scan(&mut store.data_mut().scope, &range)?;
            charge(&mut store, buffer.len())?;
            Ok((buffer,))
        },
    )?;
    interface.func_wrap(
        "delete-range",
        |mut store: StoreContextMut<'_, HostState>, (range,): (Range,)| {
            Ok((delete_range(&mut store, &range)?,))
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
    let plugin = scope.task()?.plugin;
    data_key(&mut buffer, plugin, key.as_le_slice(&*store));
    Ok(buffer)
}

fn get(
    store: &mut StoreContextMut<'_, HostState>,
    key: Vec<u8>,
) -> wasmtime::Result<Option<Value>> {
    let scope = &mut store.data_mut().scope;
    let task = scope.task.as_ref().ok_or(HostStop::OutsideCommand)?;
    let found = task.layers.get_with(&scope.writes, &key);
    let bytes = key.len();
    scope.buffer = key;
    let value = scope.keep(found)?;
    charge(store, bytes + value.as_ref().map_or(0, |value| value.len()))?;
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
fn span(plugin: u32, range: &Range) -> (Vec<u8>, Vec<u8>) {
    let prefix = plugin_prefix(plugin);
    let mut start = prefix.to_vec();
    start.extend_from_slice(&range.start);
    let end = match &range.end {
        Some(end) => [&prefix[..], end].concat(),
        None => prefix_end(&prefix),
    };
    (start, end)
}

fn scan(scope: &mut Scope, range: &Range) -> Result<Vec<u8>, HostStop> {
    let task = scope.task.as_ref().ok_or(HostStop::OutsideCommand)?;
    let (start, end) = span(task.plugin, range);
    let prefix = plugin_prefix(task.plugin).len();
    let limit = if range.limit == 0 {
        usize::MAX
    } else {
        range.limit as usize
    };
    let packed = || {
        let mut buffer = Vec::new();
        let span = Span {
            start: &start,
            end: &end,
            reverse: range.reverse,
        };
        for item in task.layers.scan(&scope.writes, span)?.take(limit) {
            let (key, row) = item?;
            let key = &key[prefix..];
            let value_bytes = if range.keys_only {
                0
            } else {
                4 + row.value.len()
            };
            if !buffer.is_empty() && buffer.len() + 4 + key.len() + value_bytes > SCAN_BUFFER_BYTES
            {
                break;
            }
            pack(&mut buffer, key);
            if !range.keys_only {
                pack(&mut buffer, &row.value);
            }
        }
        Ok(buffer)
    };
    let packed = packed();
    scope.keep(packed)
}

fn pack(buffer: &mut Vec<u8>, bytes: &[u8]) {
    // Keys and values are bounded far below 4 GiB.
    buffer.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    buffer.extend_from_slice(bytes);
}

fn delete_range(
    store: &mut StoreContextMut<'_, HostState>,
    range: &Range,
) -> wasmtime::Result<u64> {
    charge(store, 0)?;
    let fuel = store.get_fuel()?;
    let scope = &mut store.data_mut().scope;
    scope.writable()?;
    let task = scope.task.as_ref().ok_or(HostStop::OutsideCommand)?;
    let (start, end) = span(task.plugin, range);
    let limit = if range.limit == 0 {
        u64::MAX
    } else {
        u64::from(range.limit)
    };
    // Removing a row costs fuel, so fuel bounds how many need to be collected.
    let affordable = fuel / ROW_FUEL_BYTES as u64 + 1;
    let collect = || -> Result<Vec<Key>, crate::Fault> {
        let span = Span {
            start: &start,
            end: &end,
            reverse: false,
        };
        let rows = task.layers.scan(&scope.writes, span)?;
        rows.take(limit.min(affordable) as usize)
            .map(|item| Ok(item?.0))
            .collect()
    };
    let keys = collect();
    let keys = scope.keep(keys)?;
    let removed = keys.len() as u64;
    charge(store, keys.len() * ROW_FUEL_BYTES)?;
    store
        .data_mut()
        .scope
        .writes
        .extend(keys.into_iter().map(|key| (key, None)));
    Ok(removed)
}
