//! What a running command can reach: the data behind every import.

use std::sync::Arc;

use hostd_protocol::{Access, Limits, TimeNs};
use thiserror::Error;
use wasmtime::{ResourceLimiter, StoreContextMut};

use crate::imports::log::Written;
use crate::random::Generator;
use crate::store::{Layers, Writes};
use crate::{Event, Fault};

/// Fuel of any host call, on top of what its bytes cost. About what it takes in time, at one
/// unit an instruction. Part of the rules: see [`hostd_protocol::EngineIdentity`].
const HOST_CALL_FUEL: u64 = 500;

/// Table elements that one instance may have.
const TABLE_ELEMENTS_MAX: usize = 10_000;

/// Data of a wasmtime store.
pub(crate) struct HostState {
    pub(crate) scope: Scope,
    pub(crate) memory: MemoryLimiter,
}

/// One command's view of the world, and what it did so far.
pub(crate) struct Scope {
    /// `None` between commands.
    pub(crate) task: Option<Task>,
    pub(crate) writes: Writes,
    pub(crate) events: Vec<Event>,
    /// Size of the topics and payloads in `events`.
    pub(crate) event_bytes: usize,
    pub(crate) logged: Written,
    /// A failure of this node that a host call met; it outranks whatever the guest makes of it.
    pub(crate) fault: Option<Fault>,
    /// Reused for building keys.
    pub(crate) buffer: Vec<u8>,
}

/// What a command runs with.
pub(crate) struct Task {
    /// Whose timers it sees.
    pub(crate) plugin: u32,
    /// The key space that it reads and writes.
    pub(crate) space: u32,
    pub(crate) plugin_name: Arc<str>,
    pub(crate) access: Access,
    /// Whether it makes a state of an older layout anew: timers are left alone then.
    pub(crate) migrating: bool,
    pub(crate) now: TimeNs,
    pub(crate) generator: Generator,
    pub(crate) layers: Layers,
    pub(crate) limits: Arc<Limits>,
    pub(crate) fuel_max: u64,
    /// Whether what the guest is handed costs a unit of fuel a byte.
    pub(crate) handing_costs: bool,
    pub(crate) reply_bytes_max: usize,
}

/// Why a host call ends the command.
#[derive(Debug, Error)]
pub(crate) enum HostStop {
    #[error("a read command tried to write")]
    ReadOnly,
    #[error("{0}")]
    TooLarge(&'static str),
    #[error("all fuel used")]
    Fuel,
    #[error("over the memory limit")]
    Memory,
    #[error("host call outside of a command")]
    OutsideCommand,
    #[error("timers are not a migration's to change")]
    Migrating,
    #[error("fault of this node")]
    Fault,
}

impl Scope {
    pub(crate) fn new() -> Self {
        Self {
            task: None,
            writes: Writes::new(),
            events: Vec::new(),
            event_bytes: 0,
            logged: Written::default(),
            fault: None,
            buffer: Vec::new(),
        }
    }

    pub(crate) fn task(&mut self) -> Result<&mut Task, HostStop> {
        self.task.as_mut().ok_or(HostStop::OutsideCommand)
    }

    /// The task and the writes of a command that may write.
    pub(crate) fn writable(&mut self) -> Result<(&mut Task, &mut Writes), HostStop> {
        let task = self.task.as_mut().ok_or(HostStop::OutsideCommand)?;
        match task.access {
            Access::Write => Ok((task, &mut self.writes)),
            Access::Read => Err(HostStop::ReadOnly),
        }
    }

    /// Turns a fault into the end of the command, keeping it for the host.
    pub(crate) fn keep<T>(&mut self, result: Result<T, Fault>) -> Result<T, HostStop> {
        result.map_err(|fault| {
            self.fault = Some(fault);
            HostStop::Fault
        })
    }
}

/// Takes a host call's fuel from the command: a fixed part and one unit a byte moved.
pub(crate) fn charge(
    store: &mut StoreContextMut<'_, HostState>,
    bytes: usize,
) -> wasmtime::Result<()> {
    metered(store, |_, meter| meter.take(HOST_CALL_FUEL + bytes as u64))
}

/// Takes the fuel of bytes that a host call found on its way.
pub(crate) fn charge_bytes(
    store: &mut StoreContextMut<'_, HostState>,
    bytes: usize,
) -> wasmtime::Result<()> {
    metered(store, |_, meter| meter.take(bytes as u64))
}

/// The fuel that a command has left, while a host call takes from it piece by piece.
pub(crate) struct Meter {
    left: u64,
}

impl Meter {
    /// Takes so much, or all there is and ends the command.
    pub(crate) fn take(&mut self, units: u64) -> Result<(), HostStop> {
        let left = self.left.checked_sub(units);
        self.left = left.unwrap_or(0);
        left.map(drop).ok_or(HostStop::Fuel)
    }
}

/// Does a host call's work, which takes fuel as it goes.
pub(crate) fn metered<T>(
    store: &mut StoreContextMut<'_, HostState>,
    work: impl FnOnce(&mut Scope, &mut Meter) -> Result<T, HostStop>,
) -> wasmtime::Result<T> {
    let mut meter = Meter {
        left: store.get_fuel()?,
    };
    let result = work(&mut store.data_mut().scope, &mut meter);
    store.set_fuel(meter.left)?;
    Ok(result?)
}

/// Holds an instance to the replicated memory limit. The pool's own limits are no lower, so this one
/// decides, alike on every node. Growing past what the guest itself declared fails as WebAssembly
/// has it: the guest is told, and goes on.
pub(crate) struct MemoryLimiter {
    pub(crate) bytes_max: usize,
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired > self.bytes_max {
            return Err(HostStop::Memory.into());
        }
        Ok(maximum.is_none_or(|maximum| desired <= maximum))
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        // What was allowed is below every limit, so the operating system has no memory: this node's
        // own failure, which must not look like the guest's.
        Err(error.context(HostStop::Fault))
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired > TABLE_ELEMENTS_MAX {
            return Err(HostStop::Memory.into());
        }
        Ok(maximum.is_none_or(|maximum| desired <= maximum))
    }
}
