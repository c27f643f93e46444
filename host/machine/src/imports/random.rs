//! `wit/random.wit`: the command's own generator.

use wasmtime::StoreContextMut;
use wasmtime::component::Linker;

use crate::wasm::{HostState, HostStop, charge};

pub(super) const INTERFACE: &str = "hostd:plugin/random@0.1.0";

/// Bytes that one call may draw.
const BYTES_MAX: usize = 64 << 10;

pub(super) fn add(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    let mut interface = linker.instance(INTERFACE)?;
    interface.func_wrap(
        "next",
        |mut store: StoreContextMut<'_, HostState>, (): ()| {
            charge(&mut store, 8)?;
            Ok((store.data_mut().scope.task()?.generator.next(),))
        },
    )?;
    interface.func_wrap(
        "bytes",
        |mut store: StoreContextMut<'_, HostState>, (length,): (u32,)| {
            let length = length as usize;
            if length > BYTES_MAX {
                return Err(
                    HostStop::TooLarge("more than 64 KiB of random bytes in one call").into(),
                );
            }
            charge(&mut store, length)?;
            Ok((store.data_mut().scope.task()?.generator.bytes(length),))
        },
    )
}
