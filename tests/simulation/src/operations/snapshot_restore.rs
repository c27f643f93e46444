//! The last snapshot that was saved is restored, beside the cluster that it is of.

use std::sync::Arc;

use hostd_machine::{Machine, check_snapshot};
use hostd_replica::{Restoration, STATE_FILE, SnapshotFile, open_database, restore};

use super::snapshot_save::Saved;
use crate::chance::Chance;
use crate::faults::Fault;
use crate::world::{Violation, World};

/// What was restored must be what was saved, but for who the cluster and its members are.
pub(crate) struct Restore;

impl Fault for Restore {
    fn name(&self) -> &'static str {
        "snapshot-restore"
    }

    fn begin(&self, world: &mut World, chance: &mut Chance, _for_ms: u64) {
        let Some(saved) = world.saved.clone() else {
            // There is something to restore the next time.
            return super::Save.begin(world, chance, 0);
        };
        world.trace.say("the last snapshot is restored");
        if let Err(text) = compare(world, &saved, chance) {
            world.fail(Violation::new("snapshots", text));
        }
    }
}

fn compare(world: &World, saved: &Saved, chance: &mut Chance) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| format!("{}: {error}", saved.file.display());
    let mut number = [0; 8];
    chance.fill(&mut number);
    let number = u64::from_le_bytes(number);
    let restoration = Restoration {
        node: 1,
        address: "127.0.0.1:1".into(),
        cluster: format!("{number:016x}"),
        incarnation: number,
    };
    let directory = world.fixtures.directory.join(&restoration.cluster);
    let engine = Arc::clone(&world.fixtures.engine);
    let snapshot = SnapshotFile::open(&saved.file).map_err(|error| text(&error))?;
    std::fs::create_dir_all(&directory).map_err(|error| text(&error))?;
    restore(snapshot, &directory, Arc::clone(&engine), &restoration)
        .map_err(|error| text(&error))?;
    let state = open_database(&directory.join(STATE_FILE), false, 1 << 20);
    let machine = Machine::open(engine, state.map_err(|error| text(&error))?);
    let machine = machine.map_err(|error| text(&error))?;
    let reader = machine.snapshot().map_err(|error| text(&error))?;
    let reader = reader.ok_or_else(|| text(&"what was restored has no checkpoint"))?;
    let position = reader.position();
    let chunks = reader.map(|chunk| chunk.map_err(std::io::Error::other));
    let sum = check_snapshot(position, chunks).map_err(|error| text(&error))?;
    if sum.contents != saved.contents {
        return Err(text(&"what was restored is not what was saved"));
    }
    if machine.views().latest().cluster() != Some(&*restoration.cluster) {
        return Err(text(&"what was restored still is the old cluster"));
    }
    world.counters.add("snapshots restored", 1);
    Ok(())
}
