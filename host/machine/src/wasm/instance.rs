//! A live instance of a plugin and the calls into it.

use std::sync::Arc;

use hostd_planted::{self as planted, Bug};
use hostd_protocol::{Access, Outcome, Rejection, RejectionCode};
use wasmtime::component::{self, InstancePre, TypedFunc};
use wasmtime::{OutOfMemory, PoolConcurrencyLimitError, Store, Trap};

use super::host::MemoryLimiter;
use super::types::{Description, Refused, Token, WatchedPart};
use super::{Engine, HostState, HostStop, Scope, Task};
use crate::imports::log::Written;
use crate::store::{Layers, Writes};
use crate::watched::Parts;
use crate::{Event, Fault, reply};

/// The export by which a plugin says what may be watched.
const WATCHED: &str = "watched";

/// Bytes that may be copied out of a guest for one call, so that a list whose items all point at
/// the same memory cannot become gigabytes here. Part of the rules.
const LIFTED_BYTES_MAX: usize = 64 << 20;

/// Why a call has no result.
pub(crate) enum Stop {
    /// The guest's doing, and the same on every replica.
    Rejected(Rejection),
    /// This node's own failure.
    Fault(Fault),
}

/// What a command left behind.
pub(crate) struct Finished {
    pub(crate) outcome: Result<Outcome, Fault>,
    /// The state the task came with, unchanged.
    pub(crate) layers: Layers,
    /// Empty unless the outcome is ok.
    pub(crate) writes: Writes,
    /// Empty unless the outcome is ok.
    pub(crate) events: Vec<Event>,
    pub(crate) fuel: u64,
}

type CallParameters = (Arc<str>, Vec<Vec<u8>>);
type CallResults = (Result<Vec<Token>, Refused>,);

type StepResults = (Result<Option<Vec<u8>>, Refused>,);
type PairParameters = (u32, Arc<[u8]>, Arc<[u8]>);
type PairResults = (Result<Vec<GuestPair>, Refused>,);

/// A key and its value, out of a guest.
pub(crate) type GuestPair = (Vec<u8>, Vec<u8>);

/// A plugin's instance: its memory lives on from call to call until it is dropped.
pub(crate) struct Instance {
    store: Store<HostState>,
    apply: TypedFunc<CallParameters, CallResults>,
    query: TypedFunc<CallParameters, CallResults>,
    wake: TypedFunc<(Vec<u8>,), (Result<(), Refused>,)>,
    migrate: TypedFunc<(u32, Vec<u8>), StepResults>,
    migrate_key: TypedFunc<PairParameters, PairResults>,
    /// A trap leaves guest memory in no defined state; the instance must be dropped.
    pub(crate) poisoned: bool,
}

impl Instance {
    /// A fresh instance. `fuel` bounds the code that runs during instantiation.
    pub(crate) fn new(
        engine: &Engine,
        plugin: &InstancePre<HostState>,
        memory_bytes: u64,
        fuel: u64,
    ) -> Result<Self, Stop> {
        let (mut store, instance) = instantiate(engine, plugin, memory_bytes, fuel)?;
        let stop = |error| classify(error, &mut Scope::new());
        Ok(Self {
            apply: instance.get_typed_func(&mut store, "apply").map_err(stop)?,
            query: instance.get_typed_func(&mut store, "query").map_err(stop)?,
            wake: instance.get_typed_func(&mut store, "wake").map_err(stop)?,
            migrate: instance
                .get_typed_func(&mut store, "migrate")
                .map_err(stop)?,
            migrate_key: instance
                .get_typed_func(&mut store, "migrate-key")
                .map_err(stop)?,
            store,
            poisoned: false,
        })
    }

    /// Runs a command: `apply` or `query`, as the task's access says.
    pub(crate) fn call(
        &mut self,
        task: Task,
        command: Arc<str>,
        arguments: Vec<Vec<u8>>,
    ) -> Finished {
        let function = match task.access {
            Access::Write => self.apply,
            Access::Read => self.query,
        };
        let reply_bytes_max = task.reply_bytes_max;
        let handed = arguments.iter().map(Vec::len).sum();
        self.run(task, handed, |store| {
            match function.call(store, (command, arguments))? {
                (Ok(tokens),) => Ok(reply::assemble(tokens, reply_bytes_max)),
                (Err(refused),) => Ok(Err(refused.into())),
            }
        })
    }

    /// Runs the timer handler.
    pub(crate) fn wake(&mut self, task: Task, id: Vec<u8>) -> Finished {
        let function = self.wake;
        self.run(task, id.len(), |store| {
            match function.call(store, (id,))? {
                (Ok(()),) => Ok(Ok(hostd_protocol::Reply::Ok)),
                (Err(refused),) => Ok(Err(refused.into())),
            }
        })
    }

    /// Runs a step of a migration from a layout. Where to go on is kept in `next`; none when
    /// nothing is left.
    pub(crate) fn migrate(
        &mut self,
        task: Task,
        from: u32,
        cursor: Vec<u8>,
        next: &mut Option<Vec<u8>>,
    ) -> Finished {
        let function = self.migrate;
        self.run(task, cursor.len(), |store| {
            match function.call(store, (from, cursor))? {
                (Ok(cursor),) => {
                    *next = cursor;
                    Ok(Ok(hostd_protocol::Reply::Ok))
                }
                (Err(refused),) => Ok(Err(refused.into())),
            }
        })
    }

    /// Translates a pair of an older layout; the pairs that it becomes are added to `pairs`.
    pub(crate) fn migrate_key(
        &mut self,
        task: Task,
        from: u32,
        (key, value): (Arc<[u8]>, Arc<[u8]>),
        pairs: &mut Vec<GuestPair>,
    ) -> Finished {
        let function = self.migrate_key;
        self.run(task, key.len() + value.len(), |store| {
            match function.call(store, (from, key, value))? {
                (Ok(mut new),) => {
                    pairs.append(&mut new);
                    Ok(Ok(hostd_protocol::Reply::Ok))
                }
                (Err(refused),) => Ok(Err(refused.into())),
            }
        })
    }

    /// Makes a call. `handed` are the bytes that the guest gets with it.
    fn run(
        &mut self,
        task: Task,
        handed: usize,
        call: impl FnOnce(&mut Store<HostState>) -> wasmtime::Result<Outcome>,
    ) -> Finished {
        let fuel_max = task.fuel_max;
        // Copying is work too, whether or not the guest looks at what it gets.
        let handing = if task.handing_costs { handed as u64 } else { 0 };
        self.store.data_mut().scope.task = Some(task);
        self.store
            .set_fuel(fuel_max.saturating_sub(handing))
            .expect("the engine consumes fuel");
        self.store.set_hostcall_fuel(LIFTED_BYTES_MAX);
        let result = call(&mut self.store);
        let fuel = fuel_max - self.store.get_fuel().expect("the engine consumes fuel");

        let scope = &mut self.store.data_mut().scope;
        let task = scope
            .task
            .take()
            .expect("only this function takes the task");
        let mut writes = std::mem::take(&mut scope.writes);
        let mut events = std::mem::take(&mut scope.events);
        scope.event_bytes = 0;
        scope.logged = Written::default();
        let outcome = match result {
            // A fault outranks what the guest made of it.
            _ if scope.fault.is_some() => Err(scope.fault.take().expect("the arm's condition")),
            Ok(outcome) => Ok(outcome),
            Err(error) => {
                self.poisoned = true;
                match classify(error, scope) {
                    Stop::Rejected(rejection) => Ok(Err(rejection)),
                    Stop::Fault(fault) => Err(fault),
                }
            }
        };
        let kept = planted::active(Bug::KeepTrappedWrites) && self.poisoned;
        if !matches!(outcome, Ok(Ok(_))) && !kept {
            writes.clear();
            events.clear();
        }
        Finished {
            outcome,
            layers: task.layers,
            writes,
            events,
            fuel,
        }
    }
}

/// Asks a plugin for its description, in an instance of its own.
pub(crate) fn describe(
    engine: &Engine,
    plugin: &InstancePre<HostState>,
    memory_bytes: u64,
    fuel: u64,
) -> Result<hostd_protocol::PluginDescription, Stop> {
    let (mut store, instance) = instantiate(engine, plugin, memory_bytes, fuel)?;
    let mistyped = mistyped_exports(&mut store, &instance).into_iter().next();
    if let Some((_, error)) = mistyped {
        return Err(classify(error, &mut Scope::new()));
    }
    ask_description(&mut store, &instance)
}

/// The exports that have other types than the world's, or are missing, each with how it differs.
pub(crate) fn mistyped_exports(
    mut store: &mut Store<HostState>,
    instance: &component::Instance,
) -> Vec<(&'static str, wasmtime::Error)> {
    let looked_up = [
        (
            "apply",
            instance
                .get_typed_func::<CallParameters, CallResults>(&mut store, "apply")
                .err(),
        ),
        (
            "query",
            instance
                .get_typed_func::<CallParameters, CallResults>(&mut store, "query")
                .err(),
        ),
        (
            "wake",
            instance
                .get_typed_func::<(Vec<u8>,), (Result<(), Refused>,)>(&mut store, "wake")
                .err(),
        ),
        (
            "migrate",
            instance
                .get_typed_func::<(u32, Vec<u8>), StepResults>(&mut store, "migrate")
                .err(),
        ),
        (
            "migrate-key",
            instance
                .get_typed_func::<PairParameters, PairResults>(&mut store, "migrate-key")
                .err(),
        ),
        (
            "describe",
            instance
                .get_typed_func::<(), (Description,)>(&mut store, "describe")
                .err(),
        ),
    ];
    looked_up
        .into_iter()
        .filter_map(|(name, error)| Some((name, error?)))
        .collect()
}

/// Calls `describe`.
pub(crate) fn ask_description(
    mut store: &mut Store<HostState>,
    instance: &component::Instance,
) -> Result<hostd_protocol::PluginDescription, Stop> {
    let stop = |error| classify(error, &mut Scope::new());
    let describe = instance
        .get_typed_func::<(), (Description,)>(&mut store, "describe")
        .map_err(stop)?;
    let (description,) = describe.call(&mut store, ()).map_err(stop)?;
    Ok(description.into())
}

/// Asks a plugin which parts of its state may be watched, in an instance of its own. None where it
/// does not say: plugins need not have this export. Within the result, why what it says cannot be used.
pub(crate) fn ask_watched(
    engine: &Engine,
    plugin: &InstancePre<HostState>,
    memory_bytes: u64,
    fuel: u64,
) -> Result<Result<Parts, String>, Fault> {
    let component = plugin.component().component_type();
    if component.get_export(&engine.wasmtime, WATCHED).is_none() {
        return Ok(Ok(Parts::default()));
    }
    let unusable = |stop| match stop {
        Stop::Rejected(rejection) => Ok(Err(rejection.to_string())),
        Stop::Fault(fault) => Err(fault),
    };
    let (mut store, instance) = match instantiate(engine, plugin, memory_bytes, fuel) {
        Ok(instance) => instance,
        Err(stop) => return unusable(stop),
    };
    let parts = instance
        .get_typed_func::<(), (Vec<WatchedPart>,)>(&mut store, WATCHED)
        .and_then(|function| function.call(&mut store, ()));
    match parts {
        Ok((parts,)) => Ok(Parts::new(parts.into_iter().map(Into::into).collect())),
        Err(error) => unusable(classify(error, &mut Scope::new())),
    }
}

/// A store and a fresh instance in it.
pub(crate) fn instantiate(
    engine: &Engine,
    plugin: &InstancePre<HostState>,
    memory_bytes: u64,
    fuel: u64,
) -> Result<(Store<HostState>, component::Instance), Stop> {
    let memory = MemoryLimiter {
        bytes_max: memory_bytes as usize,
    };
    let mut store = Store::new(
        &engine.wasmtime,
        HostState {
            scope: Scope::new(),
            memory,
        },
    );
    store.limiter(|state| &mut state.memory);
    store.set_fuel(fuel).expect("the engine consumes fuel");
    store.set_hostcall_fuel(LIFTED_BYTES_MAX);
    let instance = plugin
        .instantiate(&mut store)
        .map_err(|error| classify(error, &mut store.data_mut().scope))?;
    Ok((store, instance))
}

/// The fault behind an error of wasmtime's that is this node's own: no place in the pool, no
/// memory, a system call that failed.
pub(crate) fn own_failure(error: &wasmtime::Error) -> Option<Fault> {
    let own = error.is::<PoolConcurrencyLimitError>()
        || error.is::<OutOfMemory>()
        || error.is::<std::io::Error>()
        || error.is::<rustix::io::Errno>();
    own.then(|| Fault::Instances(format!("{error:#}")))
}

/// Sorts the end of a call into what every replica sees alike and what only this node sees.
/// Whatever is not known to be this node's own is the guest's: a plugin must never be able to
/// cause a fault.
fn classify(error: wasmtime::Error, scope: &mut Scope) -> Stop {
    if let Some(fault) = scope.fault.take().or_else(|| own_failure(&error)) {
        return Stop::Fault(fault);
    }
    let (code, message) = if let Some(stop) = error.downcast_ref::<HostStop>() {
        match stop {
            HostStop::ReadOnly => (RejectionCode::ReadOnly, "a read command tried to write"),
            HostStop::TooLarge(message) => (RejectionCode::TooLarge, *message),
            HostStop::Fuel => (RejectionCode::FuelExhausted, FUEL_MESSAGE),
            HostStop::Memory => (
                RejectionCode::MemoryExceeded,
                "the command needs more memory than a plugin may have",
            ),
            HostStop::OutsideCommand => (
                RejectionCode::Trapped,
                "the plugin called its host outside of a command",
            ),
            HostStop::Migrating => (
                RejectionCode::Trapped,
                "the plugin tried to change a timer while its state is migrated",
            ),
            HostStop::Fault => return Stop::Fault(Fault::Instances(format!("{error:#}"))),
        }
    } else {
        match error.downcast_ref::<Trap>() {
            Some(Trap::OutOfFuel) => (RejectionCode::FuelExhausted, FUEL_MESSAGE),
            Some(Trap::StackOverflow) => (RejectionCode::Trapped, "stack overflow"),
            Some(Trap::UnreachableCodeReached) => (
                RejectionCode::Trapped,
                "the plugin panicked; its node's log may say why",
            ),
            Some(Trap::MemoryOutOfBounds) => {
                (RejectionCode::Trapped, "memory access out of bounds")
            }
            Some(Trap::IntegerDivisionByZero) => (RejectionCode::Trapped, "division by zero"),
            _ => (
                RejectionCode::Trapped,
                "the plugin broke a rule of WebAssembly",
            ),
        }
    };
    tracing::debug!(
        code = code.as_str(),
        error = format!("{error:#}"),
        "plugin stopped"
    );
    Stop::Rejected(Rejection::new(code, message))
}

const FUEL_MESSAGE: &str = "the command used all of its fuel";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_this_node_are_faults_however_deep_they_lie() {
        let failures = [
            wasmtime::Error::from(std::io::Error::other("disk")),
            wasmtime::Error::from(rustix::io::Errno::NOMEM),
            wasmtime::Error::from(OutOfMemory::new(1)),
        ];
        for failure in failures {
            let error = failure.context("making a memory").context("instantiating");
            let text = format!("{error:#}");
            let stop = classify(error, &mut Scope::new());
            assert!(matches!(stop, Stop::Fault(_)), "{text}");
        }
        for trap in [
            Trap::StackOverflow,
            Trap::OutOfFuel,
            Trap::MemoryOutOfBounds,
        ] {
            let error = wasmtime::Error::from(trap).context("somewhere");
            assert!(matches!(
                classify(error, &mut Scope::new()),
                Stop::Rejected(_)
            ));
        }
    }
}
