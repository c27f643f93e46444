//! `wit/log.wit`: diagnostics into this node's log. Nothing comes back, so nothing here can
//! change what a command computes.

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Linker};

use crate::wasm::{HostState, charge};

pub(super) const INTERFACE: &str = "hostd:plugin/log@0.1.0";

/// Bytes of a message that are kept.
const MESSAGE_BYTES_MAX: usize = 4 << 10;

#[derive(Clone, Copy, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "lifting makes them from their numbers")]
enum Level {
    #[component(name = "error")]
    Error,
    #[component(name = "warn")]
    Warn,
    #[component(name = "info")]
    Info,
    #[component(name = "debug")]
    Debug,
    #[component(name = "trace")]
    Trace,
}

pub(super) fn add(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    linker.instance(INTERFACE)?.func_wrap(
        "write",
        |mut store: StoreContextMut<'_, HostState>, (level, mut message): (Level, String)| {
            charge(&mut store, message.len())?;
            message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
            // A plugin's words must not forge lines of the node's log.
            let message = message.replace(|c: char| c.is_control(), " ");
            let plugin = &*store.data_mut().scope.task()?.plugin_name;
            match level {
                Level::Error => tracing::error!(target: "plugin", plugin, "{message}"),
                Level::Warn => tracing::warn!(target: "plugin", plugin, "{message}"),
                Level::Info => tracing::info!(target: "plugin", plugin, "{message}"),
                Level::Debug => tracing::debug!(target: "plugin", plugin, "{message}"),
                Level::Trace => tracing::trace!(target: "plugin", plugin, "{message}"),
            }
            Ok(())
        },
    )
}
