//! The one wasmtime engine of a node, set up so that every node computes the same.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use hostd_protocol::{EngineIdentity, Limits};
use wasmtime::component::Linker;
use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::HostState;
use crate::plugin::{CompileError, Plugin};
use crate::{Fault, imports};

/// Native stack that guest code may use. The thread that applies must have far more.
const WASM_STACK_BYTES: usize = 512 << 10;

/// Linear memory that the pool can give one instance; replicated limits are refused above it.
const POOL_MEMORY_BYTES: u64 = 1 << 30;

/// Plugins that a cluster can have: each has an instance for log commands in the pool, and one for the
/// version that its state is migrated to, whatever the others and their queries do. Replicated limits
/// are refused above it.
pub(crate) const PLUGINS_MAX: u32 = 64;

/// Whatever runs for the log may also run in one rehearsal at the same time.
const LOG_INSTANCES_MAX: u32 = 2 * 2 * PLUGINS_MAX;

/// Instances for queries, running and idle.
const QUERY_INSTANCES_MAX: u32 = 64;

/// Instances for a look at plugins that are to be installed: by the log, by this node's start, to make a
/// version ready, and to try one.
const DESCRIBE_INSTANCES: u32 = 4;

/// Core instances, and tables, that one plugin may consist of.
const PARTS_MAX: u32 = 16;

/// What this build of hostd can honour, oldest first: versions of the rules, each with the wasmtime
/// whose code computed its results and its fuel, and which the one here computes alike. Two nodes that
/// followed different rules would compute different results: fuel of host calls, generator, layout of
/// the state, what a component may cost to compile.
///
/// The last is what a new cluster begins with, and what one that was upgraded node by node goes over
/// to. A hostd that drops the first of them cannot take part in a rolling upgrade from it.
///
/// - 5: the bytes that a command hands to a guest cost fuel.
/// - 6: who may do what is logged, and asked of each call.
const HONOURED: &[(&str, u32)] = &[("48.0.8", 4), ("48.0.8", 5), ("48.0.8", 6)];

/// The rules under which bytes handed to a guest cost fuel.
pub(crate) const RULES_HANDING_COSTS: u32 = 5;

/// The rules under which there is a policy.
pub const RULES_POLICY: u32 = 6;

/// The rules under which there are join tokens.
pub const RULES_TOKENS: u32 = 6;

/// A lock by digest of a component.
type Turns = HashMap<[u8; 32], Arc<Mutex<()>>>;

/// A node's WebAssembly engine and the plugins it has compiled. Clones share them.
///
/// Compiled code is this node's own cache, never state.
#[derive(Clone)]
pub struct Engine {
    pub(crate) wasmtime: wasmtime::Engine,
    pub(crate) linker: Linker<HostState>,
    /// Oldest first.
    honours: Arc<[EngineIdentity]>,
    compiled: Arc<Mutex<HashMap<[u8; 32], Weak<Plugin>>>>,
    /// What is being compiled, each with a lock that whoever compiles it holds.
    compiling: Arc<Mutex<Turns>>,
    /// Places that are left of [`QUERY_INSTANCES_MAX`].
    query_slots: Arc<AtomicUsize>,
}

/// A place for one query's instance, given back when dropped.
pub(crate) struct QuerySlot(Arc<AtomicUsize>);

impl Drop for QuerySlot {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Engine {
    /// Sets up the engine.
    pub fn new() -> Result<Self, Fault> {
        let fail = |error: wasmtime::Error| Fault::Engine(format!("{error:#}"));
        let mut config = config().map_err(fail)?;
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool()));
        let wasmtime = wasmtime::Engine::new(&config).map_err(fail)?;
        let mut linker = Linker::new(&wasmtime);
        imports::add_all(&mut linker).map_err(fail)?;
        Ok(Self {
            wasmtime,
            linker,
            honours: honoured().collect(),
            compiled: Arc::default(),
            compiling: Arc::default(),
            query_slots: Arc::new(AtomicUsize::new(QUERY_INSTANCES_MAX as usize)),
        })
    }

    /// The newest that this build of hostd can honour.
    pub fn identity() -> EngineIdentity {
        honoured().next_back().expect("the list is not empty")
    }

    /// The same engine, as an earlier hostd had it that knew no newer rules: how an upgrade is
    /// rehearsed. One of this build's rules is always left.
    #[must_use]
    pub fn up_to_rules(&self, newest: u32) -> Self {
        let oldest = self.honours[0].rules;
        let honours = self.honours.iter().cloned();
        Self {
            honours: honours
                .filter(|known| known.rules <= newest.max(oldest))
                .collect(),
            ..self.clone()
        }
    }

    /// What this engine can honour, oldest first.
    pub fn honours(&self) -> &[EngineIdentity] {
        &self.honours
    }

    /// Refuses an identity that this engine cannot honour, saying how it differs.
    pub(crate) fn honour(&self, asked: &EngineIdentity) -> Result<(), Fault> {
        if self.honours.contains(asked) {
            return Ok(());
        }
        let own: Vec<String> = self.honours.iter().map(ToString::to_string).collect();
        Err(Fault::Engine(format!(
            "the cluster runs {asked}; this hostd has {}. Start the hostd version that the other nodes run",
            own.join(", or ")
        )))
    }

    /// Refuses limits that this build cannot honour, saying how they differ.
    pub(crate) fn honour_limits(limits: &Limits) -> Result<(), Fault> {
        if limits.memory_bytes_max > POOL_MEMORY_BYTES || limits.plugins_max > PLUGINS_MAX.into() {
            return Err(Fault::Engine(format!(
                "the cluster's limits are {} bytes of memory for a plugin and {} plugins; this hostd can do \
                 {POOL_MEMORY_BYTES} and {PLUGINS_MAX}",
                limits.memory_bytes_max, limits.plugins_max
            )));
        }
        Ok(())
    }

    /// A place for one more query's instance, if there is one.
    pub(crate) fn query_slot(&self) -> Option<QuerySlot> {
        self.query_slots
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            })
            .ok()
            .map(|_| QuerySlot(Arc::clone(&self.query_slots)))
    }

    /// Validates and compiles a component; a second call is free while somebody has the plugin. Whoever
    /// asks while another compiles it waits for that one: the entry that activates a version comes when
    /// this node may not be done with making it ready, and beginning anew would take longer.
    ///
    /// # Errors
    /// Names what is wrong with the component, the same on every node with the same engine
    /// identity; or why this node could not find out.
    pub fn compile(&self, component: &[u8]) -> Result<Arc<Plugin>, CompileError> {
        let digest = *blake3::hash(component).as_bytes();
        if let Some(plugin) = self.known(&digest) {
            return Ok(plugin);
        }
        let turn = Arc::clone(lock(&self.compiling).entry(digest).or_default());
        let compiled = {
            let _turn = lock(&turn);
            match self.known(&digest) {
                Some(plugin) => Ok(plugin),
                None => self.compile_anew(component, digest),
            }
        };
        // The last one who waited for this takes it away: the map has one, and so has `turn`.
        let mut compiling = lock(&self.compiling);
        if Arc::strong_count(&turn) == 2 {
            compiling.remove(&digest);
        }
        compiled
    }

    fn known(&self, digest: &[u8; 32]) -> Option<Arc<Plugin>> {
        lock(&self.compiled).get(digest).and_then(Weak::upgrade)
    }

    fn compile_anew(
        &self,
        component: &[u8],
        digest: [u8; 32],
    ) -> Result<Arc<Plugin>, CompileError> {
        let plugin = Arc::new(Plugin::compile(self, component, digest)?);
        let mut compiled = lock(&self.compiled);
        compiled.retain(|_, plugin| plugin.strong_count() > 0);
        compiled.insert(digest, Arc::downgrade(&plugin));
        Ok(plugin)
    }
}

/// What the engine's locks protect is whole between any two statements, so a panic elsewhere harms
/// none of it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn honoured() -> impl DoubleEndedIterator<Item = EngineIdentity> {
    HONOURED.iter().map(|(wasmtime, rules)| EngineIdentity {
        wasmtime: (*wasmtime).into(),
        target: TARGET.into(),
        rules: *rules,
    })
}

/// wasmtime's version as the lock file has it, from the build script.
#[cfg(test)]
const WASMTIME_VERSION: &str = env!("HOSTD_WASMTIME_VERSION");

/// The triple that guest code is compiled for. Naming it also turns off the detection of this
/// processor's extensions, so that compiled code, and with it the depth at which a stack
/// overflows, is the same on every machine of that triple.
const TARGET: &str = env!("HOSTD_TARGET");

fn pool() -> PoolingAllocationConfig {
    let instances = LOG_INSTANCES_MAX + QUERY_INSTANCES_MAX + DESCRIBE_INSTANCES;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances * PARTS_MAX)
        .total_memories(instances)
        .total_tables(instances * PARTS_MAX)
        .max_core_instances_per_component(PARTS_MAX)
        .max_memories_per_component(1)
        .max_tables_per_component(PARTS_MAX)
        .max_memory_size(POOL_MEMORY_BYTES as usize);
    pool
}

pub(super) fn config() -> wasmtime::Result<Config> {
    let mut config = Config::new();
    config.target(TARGET)?;
    config
        .cranelift_nan_canonicalization(true)
        .consume_fuel(true)
        .max_wasm_stack(WASM_STACK_BYTES)
        .concurrency_support(false)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .wasm_backtrace_max_frames(None);
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_differs_in_anything_is_refused() {
        let engine = Engine::new().unwrap();
        let own = Engine::identity();
        engine.honour(&own).unwrap();
        let others = [
            EngineIdentity {
                wasmtime: "1.0.0".into(),
                ..own.clone()
            },
            EngineIdentity {
                target: "riscv64gc-unknown-linux-gnu".into(),
                ..own.clone()
            },
            EngineIdentity {
                rules: own.rules + 1,
                ..own
            },
        ];
        for other in others {
            let fault = engine.honour(&other).unwrap_err();
            assert!(fault.to_string().contains(&other.to_string()), "{fault}");
        }
    }

    #[test]
    fn every_rule_is_honoured_up_to_the_newest_one_known() {
        let engine = Engine::new().unwrap();
        let rules = |engine: &Engine| -> Vec<u32> {
            engine.honours().iter().map(|known| known.rules).collect()
        };
        let all = rules(&engine);
        assert!(all.is_sorted_by(|one, next| one < next), "{all:?}");
        // Whoever raises wasmtime finds out whether it computes as the one before, and adds a line.
        assert_eq!(HONOURED.last().unwrap().0, WASMTIME_VERSION);
        let [.., before, newest] = engine.honours() else {
            panic!("no upgrade without two")
        };
        let earlier = engine.up_to_rules(before.rules);
        assert_eq!(rules(&earlier), all[..all.len() - 1]);
        earlier.honour(before).unwrap();
        assert!(matches!(earlier.honour(newest), Err(Fault::Engine(_))));
        assert_eq!(rules(&engine.up_to_rules(0)), all[..1]);
    }
}
