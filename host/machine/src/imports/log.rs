//! `wit/log.wit`: diagnostics into this node's log. Nothing comes back, so nothing here can
//! change what a command computes.

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Linker};

use crate::wasm::{HostState, charge};

pub(super) const INTERFACE: &str = "hostd:plugin/log@0.1.0";

/// Bytes of a message that are kept.
const MESSAGE_BYTES_MAX: usize = 4 << 10;

/// What one command may write, so that no plugin fills the node's disk with its log.
const LINES_MAX: u32 = 100;
const BYTES_MAX: usize = 64 << 10;

/// What one command has written.
#[derive(Debug, Default)]
pub(crate) struct Written {
    lines: u32,
    bytes: usize,
}

impl Written {
    /// Counts one line. Whether it may be written.
    fn admit(&mut self, bytes: usize) -> bool {
        self.lines += 1;
        self.bytes += bytes;
        self.lines <= LINES_MAX && self.bytes <= BYTES_MAX
    }
}

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
            let scope = &mut store.data_mut().scope;
            if !scope.logged.admit(message.len()) {
                return Ok(());
            }
            // A plugin's words must not forge lines of the node's log.
            let message = message.replace(|c: char| c.is_control(), " ");
            let plugin = &*scope.task()?.plugin_name;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_writes_so_many_lines_and_bytes() {
        let admitted = |bytes| {
            let mut written = Written::default();
            (0..1_000).filter(|_| written.admit(bytes)).count()
        };
        assert_eq!(admitted(10), 100);
        assert_eq!(admitted(MESSAGE_BYTES_MAX), BYTES_MAX / MESSAGE_BYTES_MAX);
    }
}
