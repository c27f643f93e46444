//! Everything that is wrong with a component, for the person who made it. A node only wants to
//! know whether there is anything: [`Engine::compile`] stops at the first.

use hostd_protocol::PluginDescription;
use wasmtime::component::{Component, InstancePre, Linker};

use crate::plugin::{
    CompileError, DESCRIBE_FUEL, DESCRIBE_MEMORY_BYTES, Plugin, PluginError, description_problems,
    name_problems,
};
use crate::wasm::{
    Engine, HostState, Stop, ask_description, instantiate, mistyped_exports, own_failure,
};
use crate::{Fault, compile_cost};

/// What a look at a component found.
#[derive(Clone, Debug, Default)]
pub struct Inspection {
    /// What keeps it from being a plugin. Empty exactly when [`Engine::compile`] takes it.
    pub problems: Vec<PluginError>,
    /// What it says about itself, where it can be brought to say it.
    pub description: Option<PluginDescription>,
}

impl Engine {
    /// Looks for all that is wrong with a component.
    ///
    /// # Errors
    /// When this process could not find out.
    pub fn inspect(&self, component: &[u8]) -> Result<Inspection, Fault> {
        let first = match self.compile(component) {
            Ok(plugin) => {
                return Ok(Inspection {
                    problems: Vec::new(),
                    description: Some(plugin.description().clone()),
                });
            }
            Err(CompileError::Fault(fault)) => return Err(fault),
            Err(CompileError::Plugin(problem)) => problem,
        };
        let mut found = self.look(component)?;
        if found.problems.is_empty() {
            found.problems.push(first);
        }
        Ok(found)
    }

    fn look(&self, component: &[u8]) -> Result<Inspection, Fault> {
        let mut found = Inspection::default();
        let bytes = match Plugin::component_bytes(component) {
            Ok(bytes) => bytes,
            Err(problem) => {
                found.problems.push(problem);
                return Ok(found);
            }
        };
        // What does not compile is what `compile` said.
        if compile_cost::check(&bytes).is_err() {
            return Ok(found);
        }
        let Ok(component) = Component::from_binary(&self.wasmtime, &bytes) else {
            return Ok(found);
        };
        found.problems = name_problems(self, &component);
        // Whatever cannot be linked is replaced by traps, so that the rest can be looked at.
        let linked = match link(self.linker.clone(), &component) {
            Ok(linked) => Some(linked),
            Err(error) => {
                if let Some(fault) = own_failure(&error) {
                    return Err(fault);
                }
                let nothing = Linker::new(&self.wasmtime);
                found
                    .problems
                    .push(PluginError::WrongTypes(format!("{error:#}")));
                link(nothing, &component).ok()
            }
        };
        if let Some(linked) = linked {
            self.run(&linked, &mut found)?;
        }
        Ok(found)
    }

    /// Looks at what can be known only of a living instance.
    fn run(&self, linked: &InstancePre<HostState>, found: &mut Inspection) -> Result<(), Fault> {
        let instance = instantiate(self, linked, DESCRIBE_MEMORY_BYTES, DESCRIBE_FUEL);
        let (mut store, instance) = match instance {
            Ok(living) => living,
            Err(stop) => return does_not_run(stop, found),
        };
        for (name, error) in mistyped_exports(&mut store, &instance) {
            if !found.problems.contains(&PluginError::MissingExport(name)) {
                let what = format!("export `{name}`: {error:#}");
                found.problems.push(PluginError::WrongTypes(what));
            }
        }
        let can_describe = instance
            .get_func(&mut store, "describe")
            .is_some_and(|_| !found.problems.iter().any(is_about_describe));
        if !can_describe {
            return Ok(());
        }
        match ask_description(&mut store, &instance) {
            Ok(description) => {
                found.problems.extend(description_problems(&description));
                found.description = Some(description);
                Ok(())
            }
            Err(stop) => does_not_run(stop, found),
        }
    }
}

fn link(
    mut linker: Linker<HostState>,
    component: &Component,
) -> wasmtime::Result<InstancePre<HostState>> {
    linker.define_unknown_imports_as_traps(component)?;
    linker.instantiate_pre(component)
}

fn is_about_describe(problem: &PluginError) -> bool {
    matches!(problem, PluginError::WrongTypes(what) if what.starts_with("export `describe`"))
}

/// A component that is not linked as a node would may trap for that alone: what it meets then is
/// a problem only where nothing else is.
fn does_not_run(stop: Stop, found: &mut Inspection) -> Result<(), Fault> {
    match stop {
        Stop::Fault(fault) => Err(fault),
        Stop::Rejected(rejection) => {
            if found.problems.is_empty() {
                let what = PluginError::Description(rejection.to_string());
                found.problems.push(what);
            }
            Ok(())
        }
    }
}
