//! `wit/clock.wit`: the command's own time.

use wasmtime::StoreContextMut;
use wasmtime::component::Linker;

use crate::wasm::{HostState, charge};

pub(super) const INTERFACE: &str = "hostd:plugin/clock@0.1.0";

pub(super) fn add(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    linker.instance(INTERFACE)?.func_wrap(
        "now",
        |mut store: StoreContextMut<'_, HostState>, (): ()| {
            charge(&mut store, 0)?;
            Ok((store.data_mut().scope.task()?.now,))
        },
    )
}
