//! Calls, as clients of this node make them: how many, how long they took, and why they failed.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use hostd_machine::View;
use hostd_protocol::{Call, CallError, Reply};
use hostd_replica::Distribution;

/// All that is counted, by plugin and command. Cloning is cheap; all clones count together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calls(Arc<RwLock<Table>>);

/// Only commands that some plugin has or had, so that callers cannot make it grow. Calls of others
/// are counted under an empty name.
type Table = HashMap<String, HashMap<String, Arc<CommandCalls>>>;

/// Calls of one command.
#[derive(Debug, Default)]
pub(crate) struct CommandCalls {
    pub(crate) took: Distribution,
    failed: Mutex<BTreeMap<String, u64>>,
}

impl CommandCalls {
    /// Counts a call that is over.
    pub(crate) fn ended(&self, took: Duration, outcome: Result<&Reply, &CallError>) {
        self.took.observe(took);
        if let Err(error) = outcome {
            let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            match failed.get_mut(error.code()) {
                Some(count) => *count += 1,
                None => drop(failed.insert(error.code().to_owned(), 1)),
            }
        }
    }

    /// How many failed, by code.
    pub(crate) fn failed(&self) -> BTreeMap<String, u64> {
        self.failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Calls {
    /// Where calls of this command are counted.
    pub(crate) fn of(&self, view: &View, call: &Call) -> Arc<CommandCalls> {
        let described = view
            .catalogue()
            .described(call.plugin.as_deref(), &call.command);
        let (plugin, command) = match described {
            Some((plugin, described)) => (plugin, described.name.as_str()),
            None => ("", ""),
        };
        let known = {
            let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
            table
                .get(plugin)
                .and_then(|commands| commands.get(command))
                .cloned()
        };
        known.unwrap_or_else(|| {
            let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
            let commands = table.entry(plugin.to_owned()).or_default();
            Arc::clone(commands.entry(command.to_owned()).or_default())
        })
    }

    /// Every command that was called, sorted by plugin and name.
    pub(crate) fn all(&self) -> BTreeMap<(String, String), Arc<CommandCalls>> {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let each = table.iter().flat_map(|(plugin, commands)| {
            commands
                .iter()
                .map(move |(command, calls)| ((plugin.clone(), command.clone()), Arc::clone(calls)))
        });
        each.collect()
    }
}
