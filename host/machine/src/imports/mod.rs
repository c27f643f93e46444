//! What a plugin can ask of its host: one file per interface of `wit/`, with the same name.

mod clock;
mod events;
pub(crate) mod log;
mod random;
mod state;
mod timer;

use wasmtime::component::Linker;

use crate::wasm::HostState;

/// Every interface that a component may import.
pub(crate) const INTERFACES: [&str; 7] = [
    clock::INTERFACE,
    events::INTERFACE,
    log::INTERFACE,
    random::INTERFACE,
    state::INTERFACE,
    timer::INTERFACE,
    "hostd:plugin/types@0.1.0",
];

pub(crate) fn add_all(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    clock::add(linker)?;
    events::add(linker)?;
    log::add(linker)?;
    random::add(linker)?;
    state::add(linker)?;
    timer::add(linker)
}
