//! The simulated disk of one node: what was written, what of it is safe, and what goes wrong.
//!
//! A write is seen at once and safe after the next sync of its file. At a crash each write that is
//! not safe is kept, lost, or torn at a sector's edge, as chance decides.

mod file;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

pub(crate) use file::DiskFile;

use hostd_replica::Room;

use crate::chance::Chance;
use crate::process::Process;
use crate::trace::Counters;

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// The disk of one node. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Disk(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    files: BTreeMap<String, File>,
    faults: DiskFaults,
    /// Longest time that a sync of a healthy disk takes.
    usual_sync_ms: u64,
    flipped: bool,
    chance: Chance,
    counters: Counters,
}

/// What goes wrong with a disk at present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DiskFaults {
    /// Writes that fail, in a million.
    pub(crate) write_error_ppm: u32,
    /// Syncs that fail, in a million.
    pub(crate) sync_error_ppm: u32,
    /// Reads that give a flipped bit, in a million.
    pub(crate) flip_ppm: u32,
    /// Bytes that all files may have together; 0 for no limit.
    pub(crate) capacity_bytes: u64,
    /// Time that a sync takes at most beyond the usual.
    pub(crate) sync_ms_max: u64,
}

#[derive(Debug, Default)]
struct File {
    /// What a reader sees.
    seen: Vec<u8>,
    /// What is safe.
    safe: Vec<u8>,
    /// What was done since the last sync, in order.
    unsafe_changes: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Resize(usize),
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write {
            offset,
            bytes: written,
        } => {
            let end = offset + written.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[*offset..end].copy_from_slice(written);
        }
        Change::Resize(length) => bytes.resize(*length, 0),
    }
}

impl Disk {
    /// An empty disk, whose syncs take up to `usual_sync_ms`.
    pub(crate) fn new(seed: u64, name: &str, usual_sync_ms: u64, counters: Counters) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            files: BTreeMap::new(),
            faults: DiskFaults::default(),
            usual_sync_ms,
            flipped: false,
            chance: Chance::new(seed, &format!("disk {name}")),
            counters,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0
            .lock()
            .expect("nothing panics while it holds the lock")
    }

    /// Opens a file for a process, creating it if it is missing.
    pub(crate) fn open(&self, name: &str, process: &Process) -> DiskFile {
        self.lock().files.entry(name.to_owned()).or_default();
        DiskFile::new(self.clone(), name.to_owned(), process.clone())
    }

    /// As [`Disk::open`], for a database, which is made whole before it gets its name, as
    /// `hostd_replica::open_database` does.
    pub(crate) fn open_database(&self, name: &str, process: &Process) -> io::Result<DiskFile> {
        if !self.lock().files.contains_key(name) {
            let scratch = Disk::new(0, name, 0, Counters::default());
            let file = scratch.open(name, &Process::new());
            drop(
                redb::Database::builder()
                    .create_with_backend(file)
                    .map_err(io::Error::other)?,
            );
            let made = std::mem::take(&mut scratch.lock().files);
            if process.effect() {
                self.lock().files.extend(made);
            }
        }
        Ok(self.open(name, process))
    }

    /// Everything on it is moved out of the way.
    pub(crate) fn set_aside(&self) {
        self.lock().files.clear();
    }

    /// Changes what goes wrong.
    pub(crate) fn change_faults(&self, change: impl FnOnce(&mut DiskFaults)) {
        change(&mut self.lock().faults);
    }

    /// What goes wrong at present.
    pub(crate) fn faults(&self) -> DiskFaults {
        self.lock().faults
    }

    /// Whether a read ever gave a flipped bit.
    pub(crate) fn has_flipped(&self) -> bool {
        self.lock().flipped
    }

    /// How long the next sync takes.
    pub(crate) fn sync_ms(&self) -> u64 {
        let mut inner = self.lock();
        let longest = inner.usual_sync_ms + inner.faults.sync_ms_max;
        inner.chance.within(0..=longest)
    }

    /// The power goes: what is not safe is kept, lost or torn.
    pub(crate) fn crash(&self) {
        let inner = &mut *self.lock();
        for file in inner.files.values_mut() {
            if !file.unsafe_changes.is_empty() {
                inner.counters.add("crashes with unsynced writes", 1);
            }
            // Mostly a disk loses all or nothing of what is not safe; in between anything goes.
            let kept_percent = match inner.chance.below(4) {
                0 => 0,
                1 => 100,
                _ => inner.chance.below(101),
            };
            for change in std::mem::take(&mut file.unsafe_changes) {
                let kept = inner.chance.percent(kept_percent as u32);
                match change {
                    Change::Write { offset, bytes } if kept => {
                        apply(&mut file.safe, &Change::Write { offset, bytes });
                    }
                    Change::Write { offset, bytes } => {
                        let sectors = bytes.len() / SECTOR_BYTES;
                        if sectors > 1 && inner.chance.percent(30) {
                            inner.counters.add("torn writes", 1);
                            let whole = inner.chance.below(sectors as u64) as usize;
                            let bytes = bytes[..whole * SECTOR_BYTES].to_vec();
                            apply(&mut file.safe, &Change::Write { offset, bytes });
                        }
                    }
                    // A file system's own journal keeps lengths in order.
                    resize @ Change::Resize(_) => apply(&mut file.safe, &resize),
                }
            }
            file.seen = file.safe.clone();
        }
    }

    /// The process died, but not the computer: what it wrote is all there.
    pub(crate) fn survive(&self) {
        for file in self.lock().files.values_mut() {
            for change in std::mem::take(&mut file.unsafe_changes) {
                apply(&mut file.safe, &change);
            }
        }
    }

    /// Flips one bit somewhere in what is in use of a file. Returns whether there was any.
    pub(crate) fn damage(&self, name: &str) -> bool {
        let inner = &mut *self.lock();
        let Some(file) = inner.files.get_mut(name) else {
            return false;
        };
        let used: Vec<usize> = (0..file.safe.len())
            .filter(|at| file.safe[*at] != 0)
            .collect();
        let Some(&at) = inner.chance.pick(&used) else {
            return false;
        };
        let bit = 1 << inner.chance.below(8);
        file.safe[at] ^= bit;
        file.seen[at] ^= bit;
        true
    }

    /// How much can still be written; `None` when there is no limit.
    pub(crate) fn room(&self) -> Option<Room> {
        let inner = self.lock();
        let total_bytes = inner.faults.capacity_bytes;
        let limited = total_bytes > 0;
        limited.then(|| Room {
            free_bytes: total_bytes.saturating_sub(inner.used_bytes()),
            total_bytes,
        })
    }

    /// Bytes of all files.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.lock().used_bytes()
    }
}

impl Inner {
    fn used_bytes(&self) -> u64 {
        self.files.values().map(|file| file.seen.len() as u64).sum()
    }
}
