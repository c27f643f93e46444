//! `wit/events.wit`: what subscribers will hear once the command took effect.

use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::Linker;

use crate::Event;
use crate::wasm::{HostState, HostStop, charge};

pub(super) const INTERFACE: &str = "hostd:plugin/events@0.1.0";

/// Events that one command may publish.
const EVENTS_MAX: usize = 10_000;

pub(super) fn add(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    linker.instance(INTERFACE)?.func_wrap(
        "publish",
        |mut store: StoreContextMut<'_, HostState>, (topic, payload): (String, Vec<u8>)| {
            charge(&mut store, topic.len() + payload.len())?;
            let scope = &mut store.data_mut().scope;
            let plugin = Arc::clone(&scope.writable()?.0.plugin_name);
            if scope.events.len() == EVENTS_MAX {
                return Err(HostStop::TooLarge("more than 10000 events in one command").into());
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
