//! A directory for every node's data; for some of them a small disk in memory, which can be
//! filled.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::world;

/// Room for two databases with the past that watchers may ask for, a snapshot and a dozen
/// checkpoints between two purges.
const SMALL_BYTES: u64 = 384 << 20;

/// What takes the room that is left.
const BALLAST: &str = "ballast";

/// The nodes' disks.
#[derive(Debug)]
pub(crate) struct Disks {
    directory: PathBuf,
    /// How many nodes have a small disk at the same time.
    small_wanted: usize,
    small: BTreeSet<u64>,
}

impl Disks {
    pub(crate) fn new(directory: &Path, small_wanted: Option<usize>) -> Self {
        Self {
            directory: directory.join("disks"),
            small_wanted: small_wanted.unwrap_or(0),
            small: BTreeSet::new(),
        }
    }

    /// A directory for a new node.
    pub(crate) fn provide(&mut self, id: u64) -> Result<PathBuf> {
        let path = self.path(id);
        std::fs::create_dir_all(&path)?;
        if self.small.len() < self.small_wanted {
            world::mount(&path.to_string_lossy(), Some(SMALL_BYTES))?;
            self.small.insert(id);
        }
        Ok(path)
    }

    /// Takes away what a node had.
    pub(crate) fn release(&mut self, id: u64) -> Result<()> {
        let path = self.path(id);
        if self.small.remove(&id) {
            world::unmount(&path.to_string_lossy())?;
        }
        std::fs::remove_dir_all(&path).with_context(|| path.display().to_string())
    }

    /// Nodes whose disks can be filled.
    pub(crate) fn small(&self) -> Vec<u64> {
        self.small.iter().copied().collect()
    }

    /// Takes all room that is left on a small disk.
    pub(crate) fn fill(&self, id: u64) -> Result<()> {
        let mut ballast = std::fs::File::create(self.path(id).join(BALLAST))?;
        let (mut chunk, mut written) = (vec![0x5a; 1 << 20], 0);
        while !chunk.is_empty() {
            match ballast.write(&chunk) {
                Ok(bytes) => written += bytes as u64,
                // What is left may have room for less.
                Err(error) if error.kind() == ErrorKind::StorageFull => {
                    chunk.truncate(chunk.len() / 2);
                }
                Err(error) => return Err(error.into()),
            }
            if written > SMALL_BYTES {
                bail!("the disk of node {id} is larger than it was made");
            }
        }
        Ok(())
    }

    /// Gives the room back.
    pub(crate) fn empty(&self, id: u64) -> Result<()> {
        match std::fs::remove_file(self.path(id).join(BALLAST)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Copies what is in memory beside it on the disk, for those who look for the cause of a
    /// failure: the disks in memory go with this process.
    pub(crate) fn save(&self) -> Result<()> {
        for id in &self.small {
            let kept = self.directory.join(format!("kept-{id}"));
            copy(&self.path(*id), &kept)?;
        }
        Ok(())
    }

    /// Takes all disks in memory away.
    pub(crate) fn release_all(&mut self) {
        for id in std::mem::take(&mut self.small) {
            // Else it goes with this process.
            let _ = world::unmount(&self.path(id).to_string_lossy());
        }
    }

    fn path(&self, id: u64) -> PathBuf {
        self.directory.join(id.to_string())
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_name() == BALLAST {
            continue;
        }
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
