//! The one wasmtime engine of a node, set up so that every node computes the same.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use hostd_protocol::EngineIdentity;
use wasmtime::component::Linker;
use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::HostState;
use crate::plugin::{Plugin, PluginError};
use crate::{Fault, RULES_VERSION, imports};

/// Native stack that guest code may use. The thread that applies must have far more.
const WASM_STACK_BYTES: usize = 512 << 10;

/// Linear memory that the pool can give one instance; replicated limits are refused above it.
pub(crate) const POOL_MEMORY_BYTES: usize = 1 << 30;

/// Instances that can live at the same time: one for each plugin's log commands, the rest for
/// concurrent queries.
const POOL_INSTANCES: u32 = 128;

/// A node's WebAssembly engine and the plugins it has compiled.
///
/// Compiled code is this node's own cache, never state.
pub struct Engine {
    pub(crate) wasmtime: wasmtime::Engine,
    pub(crate) linker: Linker<HostState>,
    compiled: Mutex<HashMap<[u8; 32], Arc<Plugin>>>,
}

impl Engine {
    /// Sets up the engine.
    pub fn new() -> Result<Self, Fault> {
        let fail = |error: wasmtime::Error| Fault::Engine(format!("{error:#}"));
        let wasmtime = wasmtime::Engine::new(&config().map_err(fail)?).map_err(fail)?;
        let mut linker = Linker::new(&wasmtime);
        imports::add_all(&mut linker).map_err(fail)?;
        Ok(Self {
            wasmtime,
            linker,
            compiled: Mutex::new(HashMap::new()),
        })
    }

    /// What a cluster that this engine founds asks of every node.
    pub fn identity() -> EngineIdentity {
        EngineIdentity {
            wasmtime: WASMTIME_VERSION.into(),
            target: TARGET.into(),
            rules: RULES_VERSION,
        }
    }

    /// Refuses an identity that this build cannot honour, saying how it differs.
    pub(crate) fn honour(asked: &EngineIdentity) -> Result<(), Fault> {
        let own = Self::identity();
        if *asked == own {
            return Ok(());
        }
        Err(Fault::Engine(format!(
            "the cluster runs wasmtime {} on {} with rules {}; this hostd has wasmtime {} on {} with rules {}. \
             Start the hostd version that the other nodes run",
            asked.wasmtime, asked.target, asked.rules, own.wasmtime, own.target, own.rules
        )))
    }

    /// Validates and compiles a component; remembers it, so that a second call is free.
    ///
    /// # Errors
    /// Names what is wrong with the component. The same component gives the same result on every
    /// node with the same engine identity.
    pub fn compile(&self, component: &[u8]) -> Result<Arc<Plugin>, PluginError> {
        let digest = *blake3::hash(component).as_bytes();
        if let Some(plugin) = self
            .compiled
            .lock()
            .expect("no panic holds this lock")
            .get(&digest)
        {
            return Ok(Arc::clone(plugin));
        }
        let plugin = Arc::new(Plugin::compile(self, component, digest)?);
        self.compiled
            .lock()
            .expect("no panic holds this lock")
            .insert(digest, Arc::clone(&plugin));
        Ok(plugin)
    }
}

/// wasmtime's version as the lock file has it, from the build script.
const WASMTIME_VERSION: &str = env!("HOSTD_WASMTIME_VERSION");

/// The triple that guest code is compiled for. Naming it also turns off the detection of this
/// processor's extensions, so that compiled code, and with it the depth at which a stack
/// overflows, is the same on every machine of that triple.
const TARGET: &str = env!("HOSTD_TARGET");

fn config() -> wasmtime::Result<Config> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(POOL_INSTANCES)
        .total_core_instances(POOL_INSTANCES * 4)
        .total_memories(POOL_INSTANCES)
        .total_tables(POOL_INSTANCES * 4)
        .max_core_instances_per_component(16)
        .max_memories_per_component(1)
        .max_tables_per_component(16)
        .max_memory_size(POOL_MEMORY_BYTES);
    let mut config = Config::new();
    config.target(TARGET)?;
    config
        .cranelift_nan_canonicalization(true)
        .consume_fuel(true)
        .max_wasm_stack(WASM_STACK_BYTES)
        .concurrency_support(false)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .wasm_backtrace_max_frames(None)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Ok(config)
}
