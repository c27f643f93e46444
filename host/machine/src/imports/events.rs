//! `wit/events.wit`: what subscribers will hear once the command took effect.

use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::Linker;

use crate::Event;
use crate::wasm::{HostState, HostStop, charge};

pub(super) const INTERFACE: &str = "hostd:plugin/events@0.1.0";

pub(super) fn add(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    linker.instance(INTERFACE)?.func_wrap(
        "publish",
        |mut store: StoreContextMut<'_, HostState>, (topic, payload): (String, Vec<u8>)| {
            let bytes = topic.len() + payload.len();
            charge(&mut store, bytes)?;
            let scope = &mut store.data_mut().scope;
            let (task, _) = scope.writable()?;
            let plugin = Arc::clone(&task.plugin_name);
            let limits = Arc::clone(&task.limits);
            if scope.events.len() as u64 >= limits.events_max {
                return Err(HostStop::TooLarge("more events than one command may publish").into());
            }
            scope.event_bytes += bytes;
            if scope.event_bytes as u64 > limits.event_bytes_max {
                return Err(HostStop::TooLarge(
                    "more bytes of events than one command may publish",
                )
                .into());
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
