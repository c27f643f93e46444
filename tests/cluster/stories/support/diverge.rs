//! A node that computes something else.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use cluster_tests::{Cluster, PATIENCE};
use hostd_machine::{Engine, Input, Machine, Position};
use hostd_protocol::{Batch, Command, Entry};

/// Stops a node, lets the others write some entries to `k`, continues its state with what the log does
/// not have, and starts it again.
pub(crate) fn make_wrong(cluster: &mut Cluster, id: u64, command: Command) -> Result<()> {
    let node = cluster.node(id)?;
    node.stop(PATIENCE)?;
    let directory = node.launch.directory();
    // Entries that the node takes as applied, whatever they say.
    for round in 0..8 {
        cluster
            .hostctl()
            .call(&["set", "k", &format!("v{round}")])?;
    }
    let rows = cluster.status()?;
    let term = rows.iter().map(|row| row.term).max().context("rows")?;
    diverge(&directory, term, command)?;
    cluster.restart(id)
}

/// What a node does that is to have another value of a key.
pub(crate) fn set(key: &str, value: &str) -> Command {
    Command::Call {
        principal: "nobody".into(),
        plugin: Some("kv".into()),
        command: "set".into(),
        arguments: [key, value]
            .map(|word| word.as_bytes().to_vec().into())
            .to_vec(),
        once: None,
    }
}

/// Continues a stopped node's state with what the cluster's log does not have, as if its machine had
/// computed something else.
fn diverge(directory: &Path, term: u64, command: Command) -> Result<()> {
    let state = hostd_replica::open_database(&directory.join("state.redb"), true, 1 << 20)?;
    let mut machine = Machine::open(Arc::new(Engine::new()?), state)?;
    let next = machine.position().context("it has a state")?.index + 1;
    let batch = Entry::Batch(Batch {
        time: 0,
        seed: [0; 16],
        commands: vec![command],
    });
    let checkpoint = Entry::Checkpoint {
        time: 0,
        previous: None,
    };
    for (index, entry) in (next..).zip([batch, checkpoint]) {
        let applied = machine.apply(Position { term, index }, Input::Entry(entry))?;
        if let Some(flush) = applied.flush {
            machine.flushed(flush.run()?);
        }
    }
    Ok(())
}
