//! `wit/events.wit`: what subscribers will hear once the command took effect.

use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::Linker;

use crate::Event;
use crate::wasm::{HostState, HostStop, charge};

pub(super) const INTERFACE: &str = "hostd:plugin/events@0.1.0";

/// Events that one command may publish, and their topics and payloads together.
const EVENTS_MAX: usize = 10_000;
const EVENT_BYTES_MAX: usize = 1 << 20;

pub(super) fn add(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    linker.instance(INTERFACE)?.func_wrap(
        "publish",
        |mut store: StoreContextMut<'_, HostState>, (topic, payload): (String, Vec<u8>)| {
            let bytes = topic.len() + payload.len();
            charge(&mut store, bytes)?;
            let scope = &mut store.data_mut().scope;
            let plugin = Arc::clone(&scope.writable()?.0.plugin_name);
            if scope.events.len() == EVENTS_MAX {
                return Err(HostStop::TooLarge("more than 10000 events in one command").into());
            }
            scope.event_bytes += bytes;
            if scope.event_bytes > EVENT_BYTES_MAX {
                return Err(HostStop::TooLarge("more than 1 MiB of events in one command").into());
            }
            scope.events.push(Event {
                plugin,
                topic,
                payload,
            });
            Ok(())
        },
    )
}
