//! One file of a simulated disk, as redb wants it.

use std::io;

use redb::StorageBackend;

use super::{Change, Disk, apply};
use crate::process::Process;

/// A file that one process has open.
#[derive(Debug)]
pub(crate) struct DiskFile {
    disk: Disk,
    name: String,
    process: Process,
}

impl DiskFile {
    pub(super) fn new(disk: Disk, name: String, process: Process) -> Self {
        Self {
            disk,
            name,
            process,
        }
    }

    /// Does a change, which is not safe before the next sync.
    fn change(&self, change: Change) -> io::Result<()> {
        let inner = &mut *self.disk.lock();
        let Some(file) = inner.files.get_mut(&self.name) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        // What a dead process does changes nothing.
        if self.process.effect() {
            apply(&mut file.seen, &change);
            file.unsafe_changes.push(change);
        }
        Ok(())
    }
}

impl StorageBackend for DiskFile {
    fn len(&self) -> io::Result<u64> {
        let inner = self.disk.lock();
        Ok(inner
            .files
            .get(&self.name)
            .map_or(0, |file| file.seen.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let inner = &mut *self.disk.lock();
        let Some(file) = inner.files.get(&self.name) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let offset = offset as usize;
        let Some(bytes) = file.seen.get(offset..offset + out.len()) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        out.copy_from_slice(bytes);
        if !out.is_empty() && inner.chance.ppm(inner.faults.flip_ppm) {
            inner.flipped = true;
            inner.counters.add("bits flipped in reads", 1);
            let at = inner.chance.below(out.len() as u64) as usize;
            out[at] ^= 1 << inner.chance.below(8);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        {
            let inner = self.disk.lock();
            let present = inner
                .files
                .get(&self.name)
                .map_or(0, |file| file.seen.len() as u64);
            let capacity = inner.faults.capacity_bytes;
            if capacity > 0 && len > present && inner.used_bytes() + (len - present) > capacity {
                inner.counters.add("disk full", 1);
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        self.change(Change::Resize(len as usize))
    }

    fn sync_data(&self) -> io::Result<()> {
        let inner = &mut *self.disk.lock();
        if inner.chance.ppm(inner.faults.sync_error_ppm) {
            inner.counters.add("syncs failed", 1);
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        let Some(file) = inner.files.get_mut(&self.name) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        if self.process.effect() {
            for change in std::mem::take(&mut file.unsafe_changes) {
                apply(&mut file.safe, &change);
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        {
            let inner = &mut *self.disk.lock();
            if inner.chance.ppm(inner.faults.write_error_ppm) {
                inner.counters.add("writes failed", 1);
                return Err(io::Error::from_raw_os_error(libc::EIO));
            }
        }
        self.change(Change::Write {
            offset: offset as usize,
            bytes: data.to_vec(),
        })
    }
}
