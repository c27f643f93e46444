//! `wit/timer.wit`: timers are rows, so they follow the command's fate like any write.

use wasmtime::StoreContextMut;
use wasmtime::component::Linker;

use crate::timers;
use crate::wasm::{HostState, HostStop, charge};

pub(super) const INTERFACE: &str = "hostd:plugin/timer@0.1.0";

pub(super) fn add(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    let mut interface = linker.instance(INTERFACE)?;
    interface.func_wrap(
        "set",
        |mut store: StoreContextMut<'_, HostState>, (id, at): (Vec<u8>, u64)| {
            charge(&mut store, id.len())?;
            let scope = &mut store.data_mut().scope;
            let (task, writes) = scope.writable()?;
            if task.migrating {
                return Err(HostStop::Migrating.into());
            }
            if id.len() as u64 > task.limits.key_bytes_max {
                return Err(HostStop::TooLarge("a timer's id is over the limit").into());
            }
            // A handler that sets its timer for now, or for the past, comes after all that is due.
            let at = at.max(task.now + 1);
            let set = timers::set(&task.layers, writes, task.plugin, &id, at);
            Ok(scope.keep(set)?)
        },
    )?;
    interface.func_wrap(
        "cancel",
        |mut store: StoreContextMut<'_, HostState>, (id,): (Vec<u8>,)| {
            charge(&mut store, id.len())?;
            let scope = &mut store.data_mut().scope;
            let (task, writes) = scope.writable()?;
            if task.migrating {
                return Err(HostStop::Migrating.into());
            }
            let cancelled = timers::cancel(&task.layers, writes, task.plugin, &id);
            Ok(scope.keep(cancelled)?)
        },
    )?;
    interface.func_wrap(
        "get",
        |mut store: StoreContextMut<'_, HostState>, (id,): (Vec<u8>,)| {
            charge(&mut store, id.len())?;
            let scope = &mut store.data_mut().scope;
            let task = scope.task.as_ref().ok_or(HostStop::OutsideCommand)?;
            let due = timers::due(&task.layers, &scope.writes, task.plugin, &id);
            Ok((scope.keep(due)?,))
        },
    )
}
