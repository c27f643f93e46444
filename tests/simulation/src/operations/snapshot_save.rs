//! A snapshot is taken and fetched, while everything goes wrong.

use std::path::PathBuf;
use std::time::Duration;

use hostd_replica::SnapshotFile;

use crate::chance::Chance;
use crate::faults::Fault;
use crate::world::{Violation, World};

/// How long the client waits until one is taken.
const PATIENCE: Duration = Duration::from_secs(20);

/// What one answer is asked for: less than it has room for, so that a file takes several.
const PIECE_BYTES: u64 = 50_000;

/// A file that was fetched and found to be sound.
#[derive(Clone, Debug)]
pub(crate) struct Saved {
    /// Where it is.
    pub(crate) file: PathBuf,
    /// Digest of what is the same in a cluster that is restored from it.
    pub(crate) contents: [u8; 32],
}

/// What is fetched must be whole, and of a state that a node told at that checkpoint.
pub(crate) struct Save;

impl Fault for Save {
    fn name(&self) -> &'static str {
        "snapshot-save"
    }

    fn begin(&self, world: &mut World, _chance: &mut Chance, _for_ms: u64) {
        let (operator, mailbox) = (world.operator.clone(), world.mailbox.clone());
        operator.act(world, "snapshot save", move |client| {
            Box::pin(async move {
                let node = client.snapshots().await?;
                let info = node.take(PATIENCE).await?;
                let mut bytes = Vec::new();
                while (bytes.len() as u64) < info.size_bytes {
                    let from = bytes.len() as u64;
                    let piece = node.read(&info.id, from, from + PIECE_BYTES).await?;
                    if piece.is_empty() {
                        break;
                    }
                    bytes.extend(piece);
                }
                mailbox.put(move |world| {
                    if let Err(text) = judge(world, &info.id, &bytes) {
                        world.fail(Violation::new("snapshots", text));
                    }
                });
                Ok(())
            })
        });
    }
}

fn judge(world: &mut World, id: &str, bytes: &[u8]) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| format!("snapshot {id}: {error}");
    let file = world.fixtures.directory.join(format!("{id}.saved"));
    std::fs::write(&file, bytes).map_err(|error| text(&error))?;
    let checked = SnapshotFile::open(&file).and_then(SnapshotFile::check);
    let checked = checked.map_err(|error| text(&error))?;
    let mut told = world
        .nodes
        .keys()
        .filter_map(|node| world.invariants.digest(*node, checked.header.index))
        .peekable();
    let digest = u64::from_le_bytes(std::array::from_fn(|byte| checked.header.digest[byte]));
    if told.peek().is_some() && !told.any(|told| told == digest) {
        return Err(text(&"no node told this digest at that checkpoint"));
    }
    world.counters.add("snapshots saved", 1);
    world.saved = Some(Saved {
        file,
        contents: checked.contents,
    });
    Ok(())
}
